# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 90
gcc -O1 -I../../../../samples -o /tmp/fr user.c || exit 1
chmod 755 /tmp/fr
insmod $LIB/samples/mmwatch.ko || exit 1
chmod 666 /dev/mmwatch
rm -f /tmp/fr.page; head -c 4096 /dev/zero >/tmp/fr.page; chmod 666 /tmp/fr.page
timeout -s KILL 70 /tmp/fr main >/tmp/fr.out 2>&1; cat /tmp/fr.out
must_go mmwatch 20
grep -q FOLLOWED /tmp/fr.out && broken "$(grep -m1 FOLLOWED /tmp/fr.out)"
grep -q 'VERDICT good' /tmp/fr.out || exit 1
held "$(grep -m1 'VERDICT good' /tmp/fr.out)"
