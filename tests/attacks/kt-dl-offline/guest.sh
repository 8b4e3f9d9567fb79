# SPDX-License-Identifier: GPL-2.0
# seconds: 100
[ -e /sys/devices/system/cpu/cpu1/online ] || exit 1
said=
for form in 0 1 2; do
	loads dloff 20 form=$form || broken "insmod hangs: $(where $LOADER)"
	said="$said form $form: insmod $RC;"
	if [ "$RC" = 0 ]; then
		sleep 2.5
		( echo 0 >/sys/devices/system/cpu/cpu1/online ) 2>/dev/null || said="$said CPU 1 stays on line;"
		sleep 3
		echo 1 >/sys/devices/system/cpu/cpu1/online 2>/dev/null
		log | grep -aq 'WARNING:' && broken "$said $(log | grep -am1 'WARNING:')"
		must_go dloff 20
	fi
done
held "$said"
