# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 85
gcc -O1 -pthread -I../../../../samples -o /tmp/br user.c || exit 1
insmod $LIB/samples/mmwatch.ko || exit 1
chmod 666 /dev/mmwatch
timeout -s KILL 70 /tmp/br 55 >/tmp/br.out 2>&1; tail -n 5 /tmp/br.out
must_go mmwatch 20
grep -q 'VERDICT lost' /tmp/br.out && broken "$(grep -m1 LOST /tmp/br.out); $(grep rounds, /tmp/br.out)"
grep -q 'VERDICT good' /tmp/br.out || exit 1
held "$(grep rounds, /tmp/br.out)"
