# SPDX-License-Identifier: GPL-2.0
# seconds: 90
insmod dldead.ko form=1 || exit 1
must_go dldead 20
log | grep -aq 'a new deadline thread: Ok' || exit 1
for i in $(seq 20); do
	insmod dldead.ko || exit 1
	must_go dldead 20
done
sleep 2
insmod dldead.ko form=1 || exit 1
must_go dldead 20
log | grep -a 'a new deadline thread' | tail -n 1 | grep -q 'Ok' ||
	broken "no bandwidth is left: $(log | grep -a 'dldead: ' | sed 's/.*dldead: //' | sort | uniq -c | tr '\n' ';') CPU 1 off line: $(sh -c 'echo 0 >/sys/devices/system/cpu/cpu1/online' 2>&1)"
held "$(log | grep -a 'dldead: ' | sed 's/.*dldead: //' | sort | uniq -c | tr '\n' ';')"
