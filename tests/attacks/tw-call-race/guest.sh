# SPDX-License-Identifier: GPL-2.0
# seconds: 150
sleep 1000 & stopped=$!
perl -e 'while (1) { select(undef, undef, undef, 0.0005) }' & running=$!
sleep 1
kill -STOP $stopped
insmod racekeep.ko || exit 1
for i in $(seq 25); do
	loads racemake 20 stopped=$stopped running=$running || broken "insmod hangs: $(where $LOADER)"
	[ $((i % 4)) = 0 ] && { kill -CONT $stopped; sleep 0.05; kill -STOP $stopped; }
done
kill -CONT $stopped; kill -KILL $stopped $running
must_go racekeep 20
log | grep -aq 'dropped twice' && broken "a closure was dropped twice"
held "$(log | grep -a 'racekeep: ' | sed 's/.*racekeep: //' | tr '\n' ';')"
