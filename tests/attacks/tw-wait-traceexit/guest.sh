# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 120
gcc -o /tmp/traceexit user.c || exit 1
insmod traceexit.ko || exit 1
chmod 666 /dev/traceexit
sleep 1000 & stopped=$!
kill -STOP $stopped
said=
for mode in 0 1 2 3; do
	/tmp/traceexit $mode $stopped >/tmp/traceexit.$mode & p=$!
	for i in $(seq 50); do log | grep -aq "traceexit: $mode begins" && break; sleep 0.1; done
	log | grep -aq "traceexit: $mode begins" || exit 1
	child=$(head -n 1 /tmp/traceexit.$mode)
	sleep 0.5
	kill -KILL $child 2>/dev/null
	ends $child 6 || { kill -KILL $p; ends $child 4 || said="$said $mode: $(where $child);"; }
done
begins=$(log | grep -am1 'traceexit: 0 begins' | sed 's/.*traceexit: //')
kill -CONT $stopped; kill -KILL $stopped
[ -z "$said" ] || broken "killed tasks hang ($begins): $said"
sleep 1
must_go traceexit 20
held "$begins; $(log | grep -a 'traceexit: [0-9]:' | sed 's/.*traceexit: //' | tr '\n' ';')"
