# alone
# seconds: 60
insmod waittimed.ko || exit 1
sleep 1000 &
stopped=$!
kill -STOP $stopped
perl -e 'use POSIX; open(F, "+<", "/dev/waittimed") or die; ioctl(F, 0xBB01, $ARGV[0]+0) or die $!; POSIX::_exit(0)' $stopped &
waiter=$!
for i in $(seq 20); do log | grep -aq 'waittimed: exiting' && break; sleep 0.2; done
log | grep -aq 'waittimed: exiting' || exit 1
kill -KILL $waiter
hangs=
ends $waiter 10 || hangs="a task in its exit cannot be killed: $(where $waiter)"
kill -CONT $stopped
kill -KILL $stopped
[ -z "$hangs" ] || broken "$hangs"
sleep 1
must_go waittimed 10
held "$(log | grep -a 'waited' | sed 's/.*waittimed: //')"
