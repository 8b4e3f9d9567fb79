# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 40
gcc -O1 -pthread -I../../../../samples -o /tmp/ae user.c || exit 1
insmod $LIB/samples/mmwatch.ko || exit 1
timeout -s KILL 25 /tmp/ae >/tmp/ae.out 2>&1; cat /tmp/ae.out
must_go mmwatch 20
grep -q SUM /tmp/ae.out || exit 1
grep -q 'REMOVE_RANGE: Success' /tmp/ae.out || broken "$(grep SUM /tmp/ae.out)"
held "$(grep SUM /tmp/ae.out)"
