# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 150
gcc -O1 -o /tmp/fuse fuse.c && gcc -O1 -pthread -o /tmp/stall user.c || exit 1
insmod $LIB/samples/rust_mmu_notifier.ko || exit 1
chmod 666 /dev/rust-mmu-notifier
mkdir -p /tmp/fusem; /tmp/fuse /tmp/fusem >/tmp/fuse.out 2>&1 & s=$!
sleep 2; cat /tmp/fuse.out
(exec 3</dev/fuse) || exit 1
/tmp/stall /tmp/fusem/f nobody >/tmp/stall.out 2>&1 & u=$!
sleep 6; cat /tmp/stall.out /tmp/fuse.out
for t in /proc/$u/task/*; do echo "T $(cat $t/stack | head -5 | tr '\n' ' ')"; done
b=$(date +%s)
sh -c 'exec 3</dev/fuse; echo opened' & v=$!
loads_ () { insmod $LIB/samples/rust_fd_close.ko; }
loads_ & l=$!
sleep $((25 * 1))
w=; kill -0 $v 2>/dev/null && { kill -9 $v; sleep 2; kill -0 $v 2>/dev/null && w="another process's open of /dev/fuse is stuck and cannot be killed: $(head -n 2 /proc/$v/stack | tr "\n" " ")"; }
i=; kill -0 $l 2>/dev/null && i="insmod is stuck: $(head -n 2 /proc/$l/stack | tr "\n" " ")"
echo "victims after 25 s: $w $i"
kill -9 $u; ends $u 10 || echo "the user cannot be killed: ?"
kill -9 $s; sleep 3
rmmod rust_fd_close 2>/dev/null
must_go rust_mmu_notifier 20
[ -z "$w$i" ] || broken "$w $i"
held "others could open"
