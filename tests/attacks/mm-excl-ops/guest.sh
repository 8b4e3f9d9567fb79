# SPDX-License-Identifier: GPL-2.0
# seconds: 90
gcc -O1 -o /tmp/exclops user.c || exit 1
echo 1 >/sys/kernel/mm/ksm/run
mkswap /dev/ram6 >/dev/null && swapon /dev/ram6
insmod $LIB/samples/rust_hmm_mirror.ko || exit 1
/tmp/exclops >/tmp/exclops.out 2>&1 & p=$!
ends $p 85 || broken "it does not return: $(tail -n 1 /tmp/exclops.out): $(where $p)"
cat /tmp/exclops.out
swapoff -a
echo 2 >/sys/kernel/mm/ksm/run
must_go rust_hmm_mirror 20
grep -q BAD /tmp/exclops.out && broken "$(grep -m1 BAD /tmp/exclops.out)"
grep -q '^end 0' /tmp/exclops.out || broken "no end: $(tail -n 1 /tmp/exclops.out)"
held "$(grep -c '^ok' /tmp/exclops.out) operations"
