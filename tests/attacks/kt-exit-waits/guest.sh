# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 250
sleep 1000 & stopped=$!
kill -STOP $stopped
insmod ewask.ko || exit 1
said=
for kind in 0 1; do for form in 0 1 2 3 4; do
	insmod exitwaits.ko form=$form kind=$kind stopped=$stopped || exit 1
	rmmod exitwaits & remover=$!
	ends $remover 12 || { kill -KILL $remover; ends $remover 4 || said="$said kind $kind, form $form: a killed rmmod hangs: $(where $remover);"; }
	kill -CONT $stopped
	ends $remover 5 || broken "$said rmmod hangs although the task runs"
	kill -STOP $stopped
done; done
kill -CONT $stopped; kill -KILL $stopped
[ -z "$said" ] || broken "$said"
held "$(log | grep -a 'exitwaits: ' | sed 's/.*exitwaits: //' | tr '\n' ';')"
