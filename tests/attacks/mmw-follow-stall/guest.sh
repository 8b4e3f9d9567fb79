# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 150
gcc -O1 -o /tmp/fuse fuse.c && gcc -O1 -I../../../../samples -o /tmp/fs user.c || exit 1
gcc -O1 -static -nostdlib -fno-pie -no-pie -fno-stack-protector -Wl,-z,separate-code -Wl,--build-id=none -o /tmp/evil evil.c || exit 1
b=$(nm /tmp/evil | sed -n 's/ [Rr] page_b$//p'); c=$(nm /tmp/evil | sed -n 's/ [Dd] page_c$//p'); [ -n "$b" ] && [ -n "$c" ] || exit 1
for i in 1 2 3; do eval "b$i=$(printf %x $((0x$b + (i - 1) * 4096)))"; done
insmod $LIB/samples/mmwatch.ko || exit 1
mkdir -p /tmp/fusem; /tmp/fuse /tmp/fusem /tmp/evil $c $b1 $b2 $b3 >/tmp/fuse.out 2>&1 & s=$!
sleep 1; cat /tmp/fuse.out
mkfifo /tmp/go; /tmp/fs watched /tmp/fusem/f </tmp/go >/tmp/watched.out 2>&1 & t=$!
exec 5>/tmp/go
sleep 1; cat /tmp/watched.out
/tmp/fs watcher $t >/tmp/watcher.out 2>&1 & w=$!
sleep 2; cat /tmp/watcher.out; grep -q watches /tmp/watcher.out || exit 1
at () { echo "$1: watched: $(head -n 3 /proc/$t/stack | sed 's/^\[<0>\] //; s/+.*//' | tr '\n' ' ')"; }
# The exec waits for a page of the program, with the mmap_lock of the new address space. The first
# accomplice waits for the lock meanwhile, and gets it when the page is served. Likewise the second
# and the third one, which holds the lock when the task work runs.
echo >&5; sleep 2; at "in its exec"
/tmp/fs accomplice $t $b1 >/tmp/acc1.out 2>&1 & a1=$!
sleep 2; touch /tmp/release.0; sleep 2; at "first lock"
/tmp/fs accomplice $t $b2 >/tmp/acc2.out 2>&1 & a2=$!
sleep 2; touch /tmp/release.1; sleep 2; at "second lock"
/tmp/fs accomplice $t $b3 >/tmp/acc3.out 2>&1 & a3=$!
sleep 2; touch /tmp/release.2; sleep 3; at "third lock"
cat /tmp/fuse.out
# Not pgrep, which waits for the mmap_lock as well.
k=$(grep -l '^mmwatch/' /proc/[0-9]*/comm 2>/dev/null | head -1 | cut -d/ -f3); echo "thread: $(head -n 4 /proc/$k/stack | tr '\n' ' ')"
in_work=$(grep -c 'space.*AllLocked' /proc/$t/stack)
kill -9 $w
r=; ends $w 15 || r="a watcher that was killed does not end, while what it follows waits in its exec: $(grep State /proc/$w/status | cut -f2) $(head -n 3 /proc/$w/stack | sed 's/^\[<0>\] //; s/+.*//' | tr '\n' ' '); thread: $(head -n 2 /proc/$k/stack | sed 's/^\[<0>\] //; s/+.*//' | tr '\n' ' ')"
exec 5>&-
kill -9 $a1 $a2 $a3 $t 2>/dev/null; kill -9 $s; sleep 3
ends $w 10 || echo "still there"
must_go mmwatch 20
[ -z "$r" ] || broken "$r"
[ "$in_work" != 0 ] || exit 1
held "killed"
