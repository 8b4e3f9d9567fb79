# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
insmod mfkeep.ko || exit 1
insmod mfmake.ko || exit 1
removes mfmake 15 || broken "rmmod of the maker hangs"
[ "$RC" = 0 ] || broken "rmmod of the maker: $RC"
for i in $(seq $((20 * SCALE))); do log | grep -aq 'mfkeep: done' && break; sleep 1; done
log | grep -aq 'mfkeep: done' || broken "the drop does not return: $(log | grep -am1 'BUG:\|Oops')"
must_go mfkeep 15
held "dropped after its maker"
