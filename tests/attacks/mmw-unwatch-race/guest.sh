# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 120
gcc -O1 -pthread -I../../../../samples -o /tmp/ur user.c || exit 1
insmod $LIB/samples/mmwatch.ko || exit 1
chmod 666 /dev/mmwatch
timeout -s KILL 100 /tmp/ur 70 >/tmp/ur.out 2>&1; sort /tmp/ur.out | uniq -c | tail -n 12
must_go mmwatch 20
grep -q 'VERDICT silent' /tmp/ur.out && broken "$(grep -m1 SILENT /tmp/ur.out); $(grep rounds /tmp/ur.out)"
grep -q 'VERDICT refused' /tmp/ur.out && broken "$(grep -m1 'mmap after' /tmp/ur.out); $(grep rounds /tmp/ur.out)"
grep -q 'VERDICT good' /tmp/ur.out || exit 1
held "$(grep rounds /tmp/ur.out)"
