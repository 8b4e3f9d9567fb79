# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
gcc -o /tmp/catchtwo user.c || exit 1
insmod catchtwo.ko || exit 1
/tmp/catchtwo & p=$!
ends $p 40 || broken "the ioctl does not return: $(log | grep -aEm1 'BUG|Oops|panicked|stack')"
log | grep -a catchtwo:
log | grep -aEq 'BUG|Oops|panicked' && broken "$(log | grep -aEm2 'no memory|BUG|Oops' | tr '\n' ' ')"
must_go catchtwo 20
held "$(log | grep -a 'catchtwo: ' | sed 's/.*catchtwo: //' | head -1)"
