# SPDX-License-Identifier: GPL-2.0
# seconds: 90
sleep 1000 & target=$!
sleep 0.5
insmod crkeep.ko || exit 1
insmod crmake.ko target=$target || exit 1
sleep 0.5
removes crmake 20 || broken "rmmod of the maker hangs"
said="rmmod of the maker: $RC"
removes crkeep 20 || broken "$said; rmmod of the keeper hangs"
log | grep -aq 'crkeep: dropped' || broken "$said; the drop of the result does not return: $(log | grep -am1 'BUG:\|Oops')"
[ -z "$(lsmod | grep crmake)" ] || must_go crmake 20
insmod crkeep.ko || exit 1
loads crmake 20 target=$target form=1 || broken "$said; a failing insmod hangs: $(where $LOADER)"
said="$said; failing insmod: $RC"
removes crkeep 20 || broken "$said; rmmod of the keeper hangs"
[ "$(log | grep -ac 'crkeep: dropped')" = 2 ] || broken "$said; the drop of the result does not return: $(log | grep -am1 'BUG:\|Oops')"
kill $target
held "$said"
