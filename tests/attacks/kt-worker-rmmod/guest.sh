# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 90
sleep 1000 &
stopped=$!
kill -STOP $stopped
insmod wrask.ko || exit 1
said=
for leak in 0 1; do
	insmod wruse.ko target=$stopped leak=$leak || exit 1
	sleep 1
	rmmod wruse & remover=$!
	ends $remover 8 || { kill -KILL $remover; ends $remover 5 || said="$said leak=$leak: rmmod hangs: $(where $remover);"; }
	kill -CONT $stopped
	ends $remover 8 || broken "rmmod hangs although the task runs"
	kill -STOP $stopped
done
kill -CONT $stopped; kill -KILL $stopped
[ -z "$said" ] || broken "$said $(log | grep -a 'wruse: the' | sed 's/.*wruse: //' | tr '\n' ';')"
held "$(log | grep -a 'wruse: the' | sed 's/.*wruse: //' | tr '\n' ';')"
