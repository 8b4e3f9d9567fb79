# SPDX-License-Identifier: GPL-2.0
# seconds: 60
gcc -O1 -o /tmp/rangeends user.c || exit 1
insmod rangeends.ko || exit 1
/tmp/rangeends || exit 1
sleep 1
must_go rangeends 20
log | grep -a rangeends:
log | grep -aq 'dropped after \([0-9]*\) starts, \1 ends' && held "$(log | grep -a 'rangeends: dropped' | sed 's/.*rangeends: //')"
broken "$(log | grep -a 'rangeends: dropped' | sed 's/.*rangeends: //')"
