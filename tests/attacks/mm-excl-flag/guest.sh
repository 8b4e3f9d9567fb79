# SPDX-License-Identifier: GPL-2.0
# seconds: 60
gcc -O1 -pthread -o /tmp/exclflag user.c || exit 1
insmod exclflag.ko || exit 1
/tmp/exclflag $((25 * SCALE)) >/tmp/exclflag.out 2>&1 & p=$!
ends $p 50 || broken "the process does not end: $(where $p)"
cat /tmp/exclflag.out
must_go exclflag 20
set -- $(cat /tmp/exclflag.out)
[ "$1" = rounds ] || exit 1
[ "$6 $8 ${10}" = "0 0 0" ] || broken "$*"
held "$*"
