# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 150
gcc -O1 -o /tmp/so user.c || exit 1
insmod $LIB/samples/rust_mmu_notifier.ko || exit 1
/tmp/so 12 > /tmp/so.out & p=$!
sleep 8
s=$(date +%s%N); ( : </dev/null; exec 3>/dev/hpet ) 2>/dev/null; ( exec 3</dev/fuse ); echo "another misc device opened after $(( ($(date +%s%N) - s)/1000000 )) ms"
wait $p
cat /tmp/so.out
must_go rust_mmu_notifier 20
grep -q busy /tmp/so.out && broken "$(cat /tmp/so.out | tr '\n' ';')"
held "$(cat /tmp/so.out | tr '\n' ';')"
