# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 220
cat >/tmp/many.pl <<'P'
$| = 1;
my @p;
for (1..$ARGV[0]) { my $pid = fork(); if (!$pid) { select(undef, undef, undef, 100) while 1 } push @p, $pid }
print "$p[0] $p[-1]\n";
select(undef, undef, undef, 100) while 1;
P
sleep 1000 & stopped=$!
kill -STOP $stopped
insmod imask.ko || exit 1
said=
for form in 0 1 1; do
	number=100; [ $form = 1 ] || number=190
	perl /tmp/many.pl $number >/tmp/many.out & parent=$!
	for i in $(seq 50); do [ -s /tmp/many.out ] && break; sleep 0.1; done
	read -r first last </tmp/many.out
	sleep 0.5
	insmod imuse.ko first=$first last=$last stopped=$stopped form=$form 2>/dev/null & loader=$!
	ends $loader 30 || { kill -KILL $loader; ends $loader 5 || said="$said form $form: a killed insmod hangs as long as another task is stopped: $(where $loader), $(grep -c ' running' /sys/kernel/debug/tether/outstanding) lines, $(log | grep -a 'still waiting for' | tail -n 1 | sed 's/.*still/still/');"; }
	kill -CONT $stopped
	ends $loader 20 || broken "$said insmod hangs although the task runs: $(where $loader)"
	kill -STOP $stopped
	pkill -KILL -P $parent; kill -KILL $parent
	sleep 0.5
done
kill -CONT $stopped; kill -KILL $stopped
[ -z "$said" ] || broken "$said"
held "$(log | grep -a 'imuse: ' | sed 's/.*imuse: //' | tr '\n' ';')"
