# SPDX-License-Identifier: GPL-2.0
# harmless
# seconds: 60
loads mmcalls 30 || broken "insmod hangs: $(where $LOADER)"
[ "$RC" = 0 ] || exit 1
must_go mmcalls 20
log | grep -aq 'mmcalls: BAD' && broken "$(log | grep -am1 'mmcalls: BAD')"
log | grep -aq 'mmcalls: all called' || broken "the timer has not run"
held "$(log | grep -a 'mmcalls: all called' | sed 's/.*mmcalls: //')"
