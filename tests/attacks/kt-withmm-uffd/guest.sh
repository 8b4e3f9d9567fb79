# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
gcc -o /tmp/withuffd user.c || exit 1
insmod withuffd.ko || exit 1
/tmp/withuffd >/tmp/withuffd.out 2>&1 </dev/null
grep -q ready /tmp/withuffd.out || { cat /tmp/withuffd.out; exit 1; }
pid=$(log | grep -a 'withuffd: thread' | sed 's/.*thread //')
rmmod withuffd & remover=$!
hangs=
ticks() { cut -d' ' -f15 /proc/$pid/stat; }
if ! ends $remover 8; then
	before=$(ticks); sleep 3; used=$(($(ticks) - before))
	kill -KILL $remover
	ends $remover 4 || hangs="rmmod hangs as long as a process does not answer page faults, and the thread has used $used ticks of 3 seconds: $(where $pid)"
fi
pkill -KILL withuffd
ends $remover 10 || broken "rmmod hangs although the process was killed: $(where $remover)"
[ -z "$hangs" ] || broken "$hangs"
held "$(log | grep -a 'withuffd: read' | sed 's/.*withuffd: //')"
