# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 90
insmod holes.ko 2>/dev/null &
pid=$!
for i in $(seq $((20 * SCALE))); do log | grep -aq 'holes: begins' && break; sleep 1; done
log | grep -aq 'holes: begins' || exit 1
sleep 2
kill -KILL $pid
ends $pid 15 || broken "a lookup is not ended by SIGKILL: $(where $pid), $(grep -a '^SigPnd\|^ShdPnd' /proc/$pid/status | tr '\n' ' ')"
held "ended by SIGKILL"
