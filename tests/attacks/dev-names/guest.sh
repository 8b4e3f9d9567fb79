# SPDX-License-Identifier: GPL-2.0
# seconds: 60
loads names 30 || broken "insmod hangs: $(where $LOADER)"
[ "$RC" = 0 ] || exit 1
must_go names 10
log | grep -aq 'names: done' || exit 1
held "$(log | grep -a 'names: .* bytes' | sed 's/.*names: //' | tr '\n' ';')"
