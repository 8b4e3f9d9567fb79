# SPDX-License-Identifier: GPL-2.0
# seconds: 40
gcc -O1 -I../../../../samples -o /tmp/ue user.c || exit 1
insmod $LIB/samples/mmwatch.ko || exit 1
timeout 30 /tmp/ue >/tmp/ue.out 2>&1; cat /tmp/ue.out
must_go mmwatch 10
grep -q BUSY /tmp/ue.out && broken "$(tr '\n' ';' </tmp/ue.out)"
grep -q GOOD /tmp/ue.out || exit 1
held "$(tr '\n' ';' </tmp/ue.out)"
