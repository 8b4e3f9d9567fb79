# SPDX-License-Identifier: GPL-2.0
# seconds: 120
# harmless
loads signals 15 || broken "insmod hangs"
[ "$RC" = 0 ] || exit 1
pids=$(pgrep signals-t)
for round in 1 2 3; do
	for s in $(seq 1 64); do kill -$s $pids; done
done 2>/dev/null
( while :; do for s in STOP CONT KILL USR1 40; do kill -$s $pids; done; done 2>/dev/null ) & k=$!
sleep 1
removes signals 30; r=$?
kill $k 2>/dev/null
[ $r = 0 ] || broken "rmmod hangs: $(where $REMOVER)"
[ "$RC" = 0 ] || broken "rmmod: $RC"
held "$(log | grep -a 'signals: .*taken' | sed 's/.*signals: //')"
