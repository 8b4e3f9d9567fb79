# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 170
gcc -O1 -pthread -o /tmp/backlog user.c || exit 1
insmod $LIB/samples/rust_mmu_notifier.ko || exit 1
chmod 666 /dev/rust-mmu-notifier
b=$(date +%s)
/tmp/backlog 30 1 >/tmp/backlog.out 2>&1 & p=$!
ends $p 60 || broken "the user does not end: $(where $p)"
cat /tmp/backlog.out; echo "ended after $(($(date +%s) - b)) s"
r=$(date +%s)
removes rust_mmu_notifier 60 || { kill -9 $REMOVER $(pgrep -P $REMOVER); sleep 2; broken "rmmod does not return in 60 s: $(where $REMOVER); $(cat /tmp/backlog.out)"; }
[ "$RC" = 0 ] || broken "rmmod: $RC"
s=$(($(date +%s) - r))
[ $s -lt 20 ] || broken "rmmod took $s s after $(cat /tmp/backlog.out)"
held "rmmod took $s s after $(cat /tmp/backlog.out)"
