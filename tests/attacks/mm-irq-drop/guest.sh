# SPDX-License-Identifier: GPL-2.0
# harmless
# seconds: 60
loads mmirq 30 || broken "insmod hangs: $(where $LOADER)"
[ "$RC" = 0 ] || exit 1
must_go mmirq 20
log | grep -aq 'mmirq: BAD' && broken "$(log | grep -am1 'mmirq: BAD')"
log | grep -aq 'mmirq: none left' || broken "payloads are not dropped: $(log | grep -a 'mmirq: dropped' | sed 's/.*mmirq: //')"
held "$(log | grep -a 'mmirq: dropped' | sed 's/.*mmirq: //')"
