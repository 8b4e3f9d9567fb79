# SPDX-License-Identifier: GPL-2.0
# seconds: 150
gcc -O1 -pthread -o /tmp/twonest user.c || exit 1
insmod twonest.ko || exit 1
/tmp/twonest $((30)) & p=$!
ends $p 60 || { for t in $(pgrep twonest); do for q in /proc/$t/task/*; do echo "$q: $(head -n 8 $q/stack | sed "s,+.*,," | tr "\n" " ")"; done; done; broken "processes do not end"; }
must_go twonest 20
log | grep -a twonest:
log | grep -aq 'BAD' && broken "a canary was dropped twice"
l=$(log | grep -a 'twonest: begun' | sed 's/.*twonest: //')
set -- $l
[ "$2" = "$4" ] && [ "$6" = 0 ] && [ "$8" = 0 ] || broken "$l"
held "$l"
