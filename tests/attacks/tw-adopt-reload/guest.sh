# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 90
# A module gets the newest free record. At the end, rlsecond has the record that rluser had at
# first, and rluser has the record of rlthird.
sleep 1000 &
target=$!
put() { loads "$1" 10 && [ "$RC" = 0 ] && sleep 0.5; }
drop() { must_go "$1" 10; sleep 0.5; }
loads rlkeep 10 target=$target
put rlfirst || exit 1
put rluser || exit 1
put rlthird || exit 1
drop rlfirst
drop rluser
put rlsecond || exit 1
drop rlthird
for i in $(seq 30); do put rluser && break; done
log | grep -aq 'rluser: added' || { rmmod rlsecond; rmmod rlkeep; held "inconclusive: the module never came to the same place again"; }
said=$(log | grep -am1 'rluser: added' | sed 's/.*added/added/')
if [ "$said" = "added: Ok(())" ]; then
	removes rluser 10 || broken "rmmod hangs"
	if [ "$RC" = 0 ]; then
		removes rlsecond 10
		kill $target
		sleep 1
		broken "removed while its work was pending; rmmod of a module without works: $RC; $(log | grep -aEm1 'BUG:|Oops')"
	fi
	kill $target
	sleep 1
fi
must_go rluser 10
must_go rlsecond 10
must_go rlkeep 10
held "$said"
