# SPDX-License-Identifier: GPL-2.0
# seconds: 90
taskset 2 bash -c 'while :; do :; done' &
target=$!
taskset 2 insmod twstorm.ko target=$target || exit 1
cat /sys/kernel/debug/tether/outstanding >/dev/null
for i in $(seq $((50 * SCALE))); do
	log | grep -aq 'twstorm: added' && break
	cat /sys/kernel/debug/tether/outstanding >/dev/null
	sleep 0.2
done
log | grep -aq 'twstorm: added' || broken "it does not end: $(where $$)"
kill -KILL $target
sleep 1
must_go twstorm 15
log | grep -aq 'twstorm: BAD' && broken "$(log | grep -am1 'twstorm: BAD')"
log | grep -aq 'left at the end: 0' || broken "$(log | grep -am1 'left at the end')"
held "$(log | grep -a 'twstorm: added' | sed 's/.*twstorm: //')"
