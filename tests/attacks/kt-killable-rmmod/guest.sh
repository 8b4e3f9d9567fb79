# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 80
sleep 1000 & stopped=$!
kill -STOP $stopped
insmod krask.ko || exit 1
insmod kruse.ko stopped=$stopped || exit 1
said=
removes kruse 20 || { kill -KILL $(pgrep -x rmmod); ends $REMOVER 4 || said="rmmod does not return, and ignores SIGKILL: $(where $REMOVER) $(where $(pgrep -x kruse))"; }
kill -CONT $stopped
ends $REMOVER 10 || broken "$said rmmod hangs although the task runs"
kill -KILL $stopped
sleep 1
rmmod krask
[ -z "$said" ] || broken "$said"
held "$(log | grep -a 'kruse: ' | sed 's/.*kruse: //' | tr '\n' ';')"
