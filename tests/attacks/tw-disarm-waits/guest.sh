# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
sleep 1000 & stopped=$!
kill -STOP $stopped
insmod dwask.ko || exit 1
said=
for form in 0 1; do
	insmod dwuse.ko stopped=$stopped form=$form 2>/dev/null & loader=$!
	ends $loader 8 || { kill -KILL $loader; ends $loader 4 || said="$said form $form: $(where $loader);"; }
	[ $form = 1 ] || { kill -CONT $stopped; ends $loader 5; kill -STOP $stopped; }
done
kill -CONT $stopped; kill -KILL $stopped
log | grep -aq 'dwuse: fails' || exit 1
[ -z "$said" ] || broken "a failing insmod hangs: $said"
held "$(log | grep -a 'dwuse: ' | sed 's/.*dwuse: //' | tr '\n' ';')"
