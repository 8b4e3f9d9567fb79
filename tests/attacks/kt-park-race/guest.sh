# SPDX-License-Identifier: GPL-2.0
# seconds: 120
# harmless
for n in 1 2 3 4; do
	loads parkrace 20 || broken "insmod hangs: $(where $LOADER)"
	[ "$RC" = 0 ] || exit 1
	for i in 1 2 3 4 5; do cat /sys/kernel/debug/tether/outstanding >/dev/null 2>&1; sleep 0.$((RANDOM % 9)); done
	( while :; do cat /sys/kernel/debug/tether/outstanding; done >/dev/null 2>&1 ) & k=$!
	removes parkrace 40; r=$?
	kill $k
	[ $r = 0 ] || broken "rmmod hangs: $(where $REMOVER)"
	[ "$RC" = 0 ] || broken "rmmod: $RC"
done
held "$n rounds: $(log | grep -a 'parkrace: parked' | sed 's/.*parkrace: //' | tr '\n' ' ')"
