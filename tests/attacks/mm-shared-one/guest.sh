# SPDX-License-Identifier: GPL-2.0
# seconds: 90
gcc -O1 -pthread -o /tmp/sharedone user.c || exit 1
insmod sharedone.ko || exit 1
/tmp/sharedone $((25 * SCALE)) & p=$!
ends $p 60 || broken "the process does not end: $(where $p)"
must_go sharedone 20
log | grep -a sharedone:
log | grep -aq BAD && broken "$(log | grep -am1 BAD)"
l=$(log | grep -a 'sharedone: made' | sed 's/.*sharedone: //')
set -- $l
[ "$2" = "$4" ] && [ "$6" = 0 ] || broken "$l"
held "$l"
