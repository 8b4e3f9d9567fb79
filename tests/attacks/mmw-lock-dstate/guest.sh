# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 100
gcc -O1 -o /tmp/fuse ../../../../tests/attacks/mm-open-stall/fuse.c && gcc -O1 -pthread -I../../../../samples -o /tmp/ld user.c || exit 1
insmod $LIB/samples/mmwatch.ko || exit 1
chmod 666 /dev/mmwatch
mkdir -p /tmp/fusem; /tmp/fuse /tmp/fusem >/tmp/fuse.out 2>&1 & s=$!
sleep 2
/tmp/ld /tmp/fusem/f >/tmp/ld.out 2>&1 & u=$!
sleep 10; cat /tmp/ld.out /tmp/fuse.out
c=$(sed -n 's/^child //p' /tmp/ld.out); [ -n "$c" ] || exit 1
for t in /proc/$u/task/* /proc/$c; do echo "T $(head -n 4 $t/stack | sed 's/^\[<0>\] //' | tr '\n' ' ')"; done
kill -9 $c
# The parent does not wait for it, so that it becomes a zombie.
dead () { [ ! -e /proc/$c ] || grep -q '^State:.Z' /proc/$c/status; }
for i in $(seq 75); do dead && break; sleep 0.2; done
w=; dead || w="another process that has the file, and polls it, cannot be killed: $(grep State /proc/$c/status | tr '\t' ' ') $(head -n 3 /proc/$c/stack | sed 's/^\[<0>\] //; s/+.*//' | tr '\n' ' ')"
kill -9 $u; ends $u 10 || echo "the user cannot be killed"
kill -9 $s; sleep 3
must_go mmwatch 20
[ -z "$w" ] || broken "$w"
grep -q polls /tmp/ld.out || exit 1
grep -q polled /tmp/ld.out || broken "the poll did not return"
held "the poll returned"
