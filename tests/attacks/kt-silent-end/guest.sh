# SPDX-License-Identifier: GPL-2.0
# seconds: 90
insmod silentend.ko || exit 1
begin=$SECONDS
removes silentend 80 || broken "rmmod hangs"
took=$((SECONDS - begin))
log | grep -aq 'silentend: .*has not ended\|does not return\|ignores the request' && held "named: $(log | grep -a 'does not return\|ignores')"
broken "rmmod took $took seconds, and nothing was named"
