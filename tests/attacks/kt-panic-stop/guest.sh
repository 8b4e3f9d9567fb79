# SPDX-License-Identifier: GPL-2.0
# panics
# alone
# seconds: 60
loads panicstop 30 || broken "insmod hangs: $(where $LOADER)"
[ "$RC" = 0 ] || exit 1
removes panicstop 15 || broken "rmmod hangs"
log | grep -aq 'panicstop: stop() .*Died' || broken "$(log | grep -a 'panicstop: ' | tr '\n' ';')"
held "$(log | grep -a 'panicstop: stop() .*Died' | sed 's/.*panicstop: //')"
