# SPDX-License-Identifier: GPL-2.0
# seconds: 30
loads waitlate 20 || broken "insmod hangs"
[ "$RC" = 0 ] || exit 1
must_go waitlate 5
took=$(log | grep -ao 'after [0-9]* ms' | grep -o '[0-9]*')
[ "$took" -gt 2000 ] && broken "200 ms took $took"
held "$took ms"
