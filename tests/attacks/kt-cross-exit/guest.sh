# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 90
insmod cekeep.ko || exit 1
for form in 0 1; do
	insmod cemake.ko form=$form || exit 1
	rmmod cemake & remover=$!
	ends $remover 20 || { kill -KILL $remover; ends $remover 5 || broken "form $form: a killed rmmod hangs: $(where $remover); $(where $(pgrep cekeep | head -n 1))"; }
done
must_go cekeep 20
held "$(log | grep -a 'cekeep: ' | sed 's/.*cekeep: //' | tr '\n' ';')"
