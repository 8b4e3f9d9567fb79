# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 150
insmod dfkeep.ko || exit 1
perl -e 'my $n = 0; my $end = time + 90; while (time < $end) { for my $d (qw(dfone dftwo dfthree)) { if (open(my $f, "+<", "/dev/$d")) { ioctl($f, 1, $n); $n++ } } } print "$n\n"' >/tmp/dfopened & opener=$!
n=0
end=$((SECONDS + 70))
while [ $SECONDS -lt $end ]; do
	loads dfmake 30 fail=$((n % 3 == 2)) || broken "insmod hangs: $(where $LOADER)"
	if [ "$RC" = 0 ]; then
		sleep 0.0$((n % 7))
		for i in $(seq 200); do removes dfmake 30 || broken "rmmod hangs: $(where $REMOVER)"; [ "$RC" = 0 ] && break; done
		[ "$RC" = 0 ] || broken "dfmake stays in use"
	fi
	n=$((n + 1))
done
wait $opener
must_go dfkeep 20
held "$n rounds, opened $(cat /tmp/dfopened), $(log | grep -a 'dfkeep: dropped' | sed 's/.*dfkeep: //')"
