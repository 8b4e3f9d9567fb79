# SPDX-License-Identifier: GPL-2.0
# seconds: 30
gcc -o /tmp/zapframe user.c || exit 1
insmod zapframe.ko || exit 1
/tmp/zapframe || exit 1
log | grep -a zapframe:
must_go zapframe 10
log | grep -aq 'after Some' && broken "$(log | grep -a 'zapframe: before' | sed 's/.*zapframe: //')"
held "gone"
