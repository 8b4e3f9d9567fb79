# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 120
insmod orphanq.ko || exit 1
sleep 1000 &
stopped=$!
kill -STOP $stopped
slab() { sed -n 's/^Slab: *\([0-9]*\).*/\1/p' /proc/meminfo; }
before=$(slab)
perl -e 'open(F, "+<", "/dev/orphanq") or die; my $r = ioctl(F, 0xBB01, $ARGV[0]+0) or die "ioctl $!"; print "$r\n"' $stopped
used=$(($(slab) - before))
removes orphanq 10 && gone="rmmod returns $RC" || gone="rmmod hangs"
after=$(($(slab) - before))
kill -CONT $stopped; kill -KILL $stopped; sleep 2
freed=$(($(slab) - before))
n=$(log | grep -ao 'orphanq: [0-9]* cancelled' | grep -o '[0-9]*')
[ "$n" -gt 8192 ] && broken "$n cancelled works on one stopped task: slab +$used kB, after $gone +$after kB, after the task was killed +$freed kB"
held "$n, $used kB"
