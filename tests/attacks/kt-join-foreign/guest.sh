# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 200
insmod jfkeep.ko || exit 1
said=
for form in 0 1; do
	loads jfuse 10 form=$form || broken "insmod hangs"
	sleep 1
	removes jfuse 12 || said="$said form $form: rmmod hangs: $(where $REMOVER);"
	[ -z "$said" ] || [ $form = 1 ] || ends $REMOVER 70 || break
done
[ -z "$said" ] || broken "$said $(log | grep -a 'ignores' | tail -n 1)"
# The work of its worker takes one minute.
must_go jfkeep 90
held "$(log | grep -a 'jfuse: ' | sed 's/.*jfuse: //' | tr '\n' ';')"
