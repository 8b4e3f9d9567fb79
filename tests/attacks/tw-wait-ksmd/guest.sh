# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
gcc -o /tmp/waitksmd user.c || exit 1
insmod waitksmd.ko || exit 1
sleep 1000 & stopped=$!
kill -STOP $stopped
/tmp/waitksmd $stopped & user=$!
cd /sys/kernel/mm/ksm || exit 1
echo 1 >sleep_millisecs; echo 2000 >pages_to_scan; echo 1 >run
for i in $(seq 100); do log | grep -aq 'waitksmd: waits in' && break; sleep 0.1; done
log | grep -aq 'waitksmd: waits in' || { echo 0 >run; kill -KILL $user; exit 1; }
sleep 1
kill -KILL $user
hangs=
ends $user 10 || hangs="a killed process hangs: $(where $user)"
( echo 2 >run ) & w=$!
ends $w 5 || { kill -KILL $w; ends $w 5 || hangs="$hangs; the shell that disables KSM hangs as well: $(where $w)"; }
kill -CONT $stopped
ends $user 10 || hangs="$hangs; the process hangs although the task runs"
kill -KILL $stopped
echo 0 >run
[ -z "$hangs" ] || broken "$(log | grep -a 'waitksmd: waits in' | sed 's/.*waitksmd: //') ($(cat /proc/$(log | grep -a 'waitksmd: waits in' | sed 's/.* in //')/comm)): $hangs"
must_go waitksmd 20
held "$(log | grep -a 'waitksmd: ' | sed 's/.*waitksmd: //' | tr '\n' ';')"
