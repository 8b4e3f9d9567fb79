# SPDX-License-Identifier: GPL-2.0
# seconds: 100
gcc -O1 -static -pthread -o /tmp/execer execer.c || gcc -O1 -pthread -o /tmp/execer execer.c || exit 1
/tmp/execer & target=$!
sleep 1
insmod execeach.ko target=$target || exit 1
sleep $((20 * SCALE / 2))
grep -a Threads /proc/$target/status || dead="the process has ended early;"
kill -KILL $target
ends $target 10 || broken "a killed process does not end: $(where $target)"
for i in 1 2 3 4 5; do
	removes execeach 20 || broken "rmmod hangs: $(where $REMOVER)"
	[ "$RC" = 0 ] && break
	sleep 1
done
[ "$RC" = 0 ] || broken "rmmod: $RC: $(cat /sys/kernel/debug/tether/outstanding)"
held "$dead $(log | grep -a 'execeach: ' | sed 's/.*execeach: //' | tr '\n' ';')"
