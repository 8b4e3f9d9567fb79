# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 40
gcc -O1 -pthread -o /tmp/lw user.c || exit 1
insmod $LIB/samples/rust_registration_cache.ko || exit 1
timeout -s KILL 25 /tmp/lw >/tmp/lw.out 2>&1; cat /tmp/lw.out
must_go rust_registration_cache 20
grep -q 'SUM first Bad address' /tmp/lw.out || exit 1
grep -q 'second asleep' /tmp/lw.out && broken "$(grep SUM /tmp/lw.out)"
held "$(grep SUM /tmp/lw.out)"
