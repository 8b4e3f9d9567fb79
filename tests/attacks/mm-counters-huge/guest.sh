# SPDX-License-Identifier: GPL-2.0
# harmless
# seconds: 30
loads counthuge 20 || broken "insmod hangs: $(where $LOADER)"
[ "$RC" = 0 ] || exit 1
must_go counthuge 10
held "refused"
