# SPDX-License-Identifier: GPL-2.0
# panics
# seconds: 120
insmod dldied.ko form=1 || exit 1
must_go dldied 20
log | grep -aq 'a new deadline thread: Ok' || exit 1
loads dldied 80 || broken "insmod hangs: $(where $LOADER)"
must_go dldied 20
sleep 2
insmod dldied.ko form=1 || exit 1
must_go dldied 20
log | grep -a 'a new deadline thread' | tail -n 1 | grep -q 'Ok' ||
	broken "no bandwidth is left: $(log | grep -a 'dldied: ' | sed 's/.*dldied: //' | sort | uniq -c | tr '\n' ';')"
held "$(log | grep -a 'dldied: ' | sed 's/.*dldied: //' | sort | uniq -c | tr '\n' ';')"
