# SPDX-License-Identifier: GPL-2.0
# seconds: 40
gcc -O1 -I../../../../samples -o /tmp/ee user.c || exit 1
insmod $LIB/samples/mmwatch.ko || exit 1
timeout 30 /tmp/ee >/tmp/ee.out 2>&1; cat /tmp/ee.out
must_go mmwatch 10
grep -q LOST /tmp/ee.out && broken "$(tr '\n' ';' </tmp/ee.out)"
grep -q GOOD /tmp/ee.out || exit 1
held "$(tr '\n' ';' </tmp/ee.out)"
