# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
insmod frkeep.ko || exit 1
insmod frmake.ko || exit 1
for i in $(seq 50); do log | grep -aq 'destructor begins' && break; sleep 0.1; done
removes frmake 20 || broken "rmmod of the maker hangs"
[ "$RC" = 0 ] || broken "rmmod of the maker: $RC"
log | grep -aq 'destructor ends' || early="; rmmod returned while the destructor ran"
for i in $(seq $((15 * SCALE))); do log | grep -aq 'frkeep: done' && break; sleep 1; done
log | grep -aq 'frkeep: done' || broken "the destructor does not return$early: $(log | grep -am1 'BUG:\|Oops')"
must_go frkeep 15
[ -z "$early" ] || broken "rmmod returned while the destructor ran"
held "rmmod waited for the destructor of the result"
