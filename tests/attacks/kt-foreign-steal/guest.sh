# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 90
insmod fskeep.ko || exit 1
insmod fsmake.ko || exit 1
sleep 1
( taskset 1 rmmod fsmake; echo $? >/tmp/rc.fsmake ) & p=$!
ends $p 40 || broken "rmmod of the maker hangs: $(where $p)"
log | grep -aq 'destructor begins' || early="; the destructor had not begun"
log | grep -aq 'destructor ends' || early="; rmmod returned while the destructor ran"
for i in $(seq $((15 * SCALE))); do log | grep -aq 'fskeep: done' && break; sleep 1; done
log | grep -aq 'fskeep: done' || broken "the destructor does not return$early: $(log | grep -am1 'BUG:\|Oops')"
must_go fskeep 15
[ -z "$early" ] || broken "${early#; }"
held "rmmod waited for the destructor of the result"
