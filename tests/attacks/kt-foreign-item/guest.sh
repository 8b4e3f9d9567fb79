# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
insmod fikeep.ko || exit 1
insmod fimake.ko || exit 1
removes fimake 15 || broken "rmmod of the maker hangs"
[ "$RC" = 0 ] || broken "rmmod of the maker: $RC"
for i in $(seq $((20 * SCALE))); do log | grep -aq 'fikeep: done' && break; sleep 1; done
log | grep -aq 'fikeep: done' || broken "the enqueueing of a dead module's item does not return: $(log | grep -am1 'BUG:\|Oops')"
must_go fikeep 15
held "$(log | grep -a 'fikeep: enqueued' | sed 's/.*enqueued/enqueued/')"
