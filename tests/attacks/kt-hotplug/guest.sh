# SPDX-License-Identifier: GPL-2.0
# seconds: 120
# harmless
[ -e /sys/devices/system/cpu/cpu1/online ] || exit 1
switched=0
for n in 1 2 3; do
	loads hotplug 20 || broken "insmod hangs: $(where $LOADER)"
	[ "$RC" = 0 ] || exit 1
	for i in 1 2 3 4 5; do
		echo 0 >/sys/devices/system/cpu/cpu1/online && switched=$((switched + 1))
		sleep 0.1
		echo 1 >/sys/devices/system/cpu/cpu1/online
	done
	( echo 0 >/sys/devices/system/cpu/cpu1/online ) 2>/dev/null &
	# A detached thread may pin the module for a short time.
	for i in $(seq 200); do
		removes hotplug 30 || broken "rmmod hangs: $(where $REMOVER)"
		[ "$RC" = 0 ] && break
		sleep 0.05
	done
	wait %% 2>/dev/null
	echo 1 >/sys/devices/system/cpu/cpu1/online
	[ "$RC" = 0 ] || broken "rmmod: $RC"
done
held "$n rounds, $switched times off line"
