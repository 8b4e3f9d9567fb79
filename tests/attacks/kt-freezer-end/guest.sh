# SPDX-License-Identifier: GPL-2.0
# seconds: 150
# harmless
[ -e /sys/power/pm_test ] || exit 1
echo 0 >/sys/module/suspend/parameters/pm_test_delay 2>/dev/null
echo $((10000 * SCALE)) >/sys/power/pm_freeze_timeout
echo freezer >/sys/power/pm_test
frozen=0
for n in 1 2 3 4; do
	loads freezerend 20 || broken "insmod hangs: $(where $LOADER)"
	[ "$RC" = 0 ] || exit 1
	for i in 1 2; do
		echo freeze >/sys/power/state || broken "round $n: the system does not freeze: $(log | grep -a 'refusing to freeze' | tail -n1)"
		frozen=$((frozen + 1))
	done
	( echo freeze >/sys/power/state ) 2>/dev/null &
	sleep 0.0$((RANDOM % 10))
	removes freezerend 40 || broken "rmmod hangs: $(where $REMOVER)"
	[ "$RC" = 0 ] || broken "rmmod: $RC"
	wait %% 2>/dev/null
done
held "frozen $frozen times"
