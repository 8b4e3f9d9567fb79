# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
insmod waitexit.ko || exit 1
hangs= rounds=0
# 0xBB01 waits without a limit, 0xBB02 with a limit of 30 days.
for command in 0xBB01 0xBB02; do
	sleep 1000 &
	stopped=$!
	kill -STOP $stopped
	perl -e 'use POSIX; open(F, "+<", "/dev/waitexit") or die; ioctl(F, hex($ARGV[0]), $ARGV[1]+0) or die $!; POSIX::_exit(0)' $command $stopped &
	waiter=$!
	rounds=$((rounds + 1))
	for i in $(seq 20); do [ "$(log | grep -ac 'waitexit: exiting')" = $rounds ] && break; sleep 0.2; done
	[ "$(log | grep -ac 'waitexit: exiting')" = $rounds ] || exit 1
	kill -KILL $waiter 2>/dev/null
	ends $waiter 10 || hangs="a task in its exit cannot be killed: $(where $waiter)"
	kill -CONT $stopped
	kill -KILL $stopped
	[ -z "$hangs" ] || broken "$hangs"
	sleep 1
done
must_go waitexit 10
held "$(log | grep -a 'waited' | sed 's/.*waitexit: //' | tr '\n' ';')"
