# SPDX-License-Identifier: GPL-2.0
# seconds: 60
gcc -O1 -pthread -I../../../../samples -I../../../../tests/attacks -o /tmp/nw user.c || exit 1
insmod $LIB/samples/mmwatch.ko || exit 1
chmod 666 /dev/mmwatch
echo 1 >/proc/sys/vm/unprivileged_userfaultfd
for mode in 0 1; do timeout -s KILL 20 /tmp/nw $mode >/tmp/nw.$mode 2>&1; echo "mode $mode: rc $?"; cat /tmp/nw.$mode; done
must_go mmwatch 20
grep -qh BAD /tmp/nw.? && broken "$(grep -h BAD /tmp/nw.? | tr '\n' ';')"
grep -q done /tmp/nw.0 || exit 1
held "$(grep -h took /tmp/nw.? | tr '\n' ';')"
