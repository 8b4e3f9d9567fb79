# SPDX-License-Identifier: GPL-2.0
# seconds: 120
gcc -O1 -pthread -o /tmp/arith user.c || exit 1
insmod arith.ko || exit 1
/tmp/arith & p=$!
ends $p 100 || broken "the process does not end: $(where $p); $(log | grep -aEm1 'BAD|BUG|panicked')"
log | grep -a arith:
log | grep -aEq 'BAD|panicked' && broken "$(log | grep -aEm1 'BAD|panicked')"
must_go arith 20
held "$(log | grep -a 'arith: made' | sed 's/.*arith: //')"
