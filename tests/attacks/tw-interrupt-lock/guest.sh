# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 120
sleep 1000 & stopped=$!
perl -e 'select(undef, undef, undef, 0.05) while 1' & target=$!
sleep 1
kill -STOP $stopped
insmod ilask.ko || exit 1
said=
for form in 0 1 2; do
	insmod iluse.ko target=$target stopped=$stopped form=$form 2>/dev/null & loader=$!
	ends $loader 15 || { kill -KILL $loader; ends $loader 5 || said="$said form $form: a killed insmod hangs as long as another task is stopped: $(where $loader);"; }
	kill -CONT $stopped
	ends $loader 10 || broken "$said insmod hangs although the task runs: $(where $loader)"
	kill -STOP $stopped
done
kill -CONT $stopped
kill -KILL $stopped $target
[ -z "$said" ] || broken "$said"
held "$(log | grep -a 'iluse: ' | sed 's/.*iluse: //' | tr '\n' ';')"
