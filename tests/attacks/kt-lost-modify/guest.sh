# SPDX-License-Identifier: GPL-2.0
# seconds: 120
loads lostmodify 100 || broken "insmod hangs: $(where $LOADER)"
[ "$RC" = 0 ] || exit 1
must_go lostmodify 10
log | grep -aq 'items, 100 dropped' && held "$(log | grep -ao '100 items.*')"
log | grep -aq 'items, ' || exit 1
broken "items are lost: $(log | grep -ao '100 items.*')"
