# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
sleep 1000 & stopped=$!
kill -STOP $stopped
insmod cuask.ko && insmod cuuse.ko || exit 1
perl -e 'open(F, "+<", "/dev/cuuse") or die; ioctl(F, 0xBB01, $ARGV[0]+0) or die "$!"' $stopped || exit 1
sleep 1
said=
for n in 1 2; do
	perl -e 'open(F, "+<", "/dev/cuuse") or die; ioctl(F, 0xBB01 + $ARGV[0], 0)' $n & p=$!
	sleep 1; kill -KILL $p
	ends $p 6 || said="$said $n: $(where $p);"
done
kill -CONT $stopped; kill -KILL $stopped
sleep 2
[ -z "$said" ] || broken "killed tasks hang as long as another task is stopped (1 cancel, 2 flush_work): $said"
must_go cuuse 10
held "they were killed"
