# SPDX-License-Identifier: GPL-2.0
# seconds: 150
loads workfuzz 140 || broken "insmod hangs: $(where $LOADER)"
[ "$RC" = 0 ] || exit 1
must_go workfuzz 10
log | grep -aq '120 made, 120 dropped' && held "120"
log | grep -aq 'made, ' || exit 1
broken "$(log | grep -a 'made, ' | sed 's/.*workfuzz: //')"
