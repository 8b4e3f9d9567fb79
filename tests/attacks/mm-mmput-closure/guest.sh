# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
gcc -o /tmp/mmput user.c || exit 1
insmod mmput.ko || exit 1
/tmp/mmput || exit 1
for i in $(seq $((20 * SCALE))); do log | grep -aq 'mmput: done' && break; sleep 1; done
log | grep -a mmput:
log | grep -aq 'mmput: done' || broken "it does not return: $(log | grep -aEm1 'BUG|Oops|WARNING'); $(where $(pgrep -x mmput | head -1))"
log | grep -aq 'mmput: after Ok' && broken "a page was read after the end of its address space"
log | grep -aq 'write Ok' && broken "a page was written after the end of its address space"
must_go mmput 15
log | grep -aq 'mmput: mm ended true' || exit 1
held "$(log | grep -a 'mmput: after' | sed 's/.*mmput: //')"
