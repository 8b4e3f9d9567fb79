# SPDX-License-Identifier: GPL-2.0
# seconds: 60
loads modwindow 30 || broken "insmod hangs: $(where $LOADER)"
[ "$RC" = 0 ] || exit 1
must_go modwindow 10
log | grep -aq 'not pending: 0,' && held "$(log | grep -a 'modwindow: mod' | sed 's/.*modwindow: //')"
log | grep -aq 'not pending: ' || exit 1
broken "$(log | grep -a 'modwindow: mod' | sed 's/.*modwindow: //')"
