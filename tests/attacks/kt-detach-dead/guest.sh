# SPDX-License-Identifier: GPL-2.0
# alone
# panics
# seconds: 60
loads detachdead 20 || broken "insmod hangs: $(where $LOADER)"
[ "$RC" = 0 ] || exit 1
said=$(log | grep -a 'detachdead: [dr]' | sed 's/.*detachdead: //')
for i in $(seq 20); do removes detachdead 20 || broken "rmmod hangs"; [ "$RC" = 0 ] && break; sleep 0.5; done
[ "$RC" = 0 ] || broken "$said, and then the module can never be removed: $(cat /sys/kernel/debug/tether/outstanding | tr '\n' ';')"
held "$said"
