# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 150
sleep 1000 &
stopped=$!
kill -STOP $stopped
insmod wcask.ko || exit 1
said=
for form in 0 1 2 3 4; do
	loads wcuse 20 target=$stopped form=$form || broken "insmod hangs: $(where $LOADER)"
	[ "$RC" = 0 ] || exit 1
	sleep 1
	rmmod wcuse & remover=$!
	ends $remover 8 || { kill -KILL $remover; ends $remover 4 || said="$said form $form: rmmod hangs as long as the task is stopped: $(where $remover);"; }
	kill -CONT $stopped
	ends $remover 10 || broken "form $form: rmmod hangs although the task runs: $(where $remover)"
	kill -STOP $stopped
done
kill -CONT $stopped; kill -KILL $stopped
[ -z "$said" ] || broken "$said"
held "$(log | grep -a 'wcuse: ' | sed 's/.*wcuse: //' | tr '\n' ';')"
