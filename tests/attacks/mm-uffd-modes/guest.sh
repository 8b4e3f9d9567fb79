# SPDX-License-Identifier: GPL-2.0
# seconds: 150
gcc -O1 -o /tmp/modes user.c || exit 1
echo 8 >/proc/sys/vm/nr_hugepages
insmod $LIB/samples/rust_hmm_mirror.ko || exit 1
/tmp/modes >/tmp/modes.out 2>&1 & p=$!
ends $p 140 || broken "it does not return: $(tail -n 1 /tmp/modes.out): $(where $p)"
cat /tmp/modes.out
must_go rust_hmm_mirror 20
grep -q '^end, 0' /tmp/modes.out || broken "$(tail -n 1 /tmp/modes.out)"
held "$(wc -l </tmp/modes.out) look-ups"
