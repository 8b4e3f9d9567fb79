# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
loads namehuge 30 || broken "insmod hangs: $(where $LOADER)"
[ "$RC" = 0 ] || exit 1
must_go namehuge 10
held "$(log | grep -a 'namehuge: ' | sed 's/.*namehuge: //' | tr '\n' ';')"
