# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 200
insmod ffkeep.ko || exit 1
sleep 1000 & stopped=$!
perl -e '1 while 1' & spins=$!
perl -e 'select(undef, undef, undef, 0.02) while 1' & sleeps=$!
kill -STOP $stopped
targets=($spins $sleeps $stopped)
n=0
end=$((SECONDS + ${FUZZ:-80}))
while [ $SECONDS -lt $end ]; do
	# A closure that is pending on a stopped target keeps the module in use, so that this target
	# is used with a failing init only.
	[ $((n % 2)) = 1 ] && target=${targets[n % 3]} || target=${targets[n / 2 % 2]}
	loads ffmake 40 fail=$((n % 2)) target=$target || broken "round $n: insmod hangs: $(where $LOADER)"
	if [ "$RC" = 0 ]; then
		sleep 0.0$((n % 9))
		for i in $(seq 100); do removes ffmake 40 || broken "round $n: rmmod hangs: $(where $REMOVER)"; [ "$RC" = 0 ] && break; sleep 0.02; done
		[ "$RC" = 0 ] || broken "ffmake stays in use: $(cat /sys/kernel/debug/tether/outstanding)"
	fi
	n=$((n + 1))
done
kill -CONT $stopped; kill -KILL $stopped $spins $sleeps
must_go ffkeep 40
log | grep -aq 'ffkeep: BAD' && broken "$(log | grep -am1 'ffkeep: BAD')"
said=$(log | grep -a 'ffkeep: used' | sed 's/.*ffkeep: //')
[ "${said##*live }" = 0 ] || broken "payloads are left: $said"
held "$n rounds, $said"
