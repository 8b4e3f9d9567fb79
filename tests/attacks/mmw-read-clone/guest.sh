# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 90
gcc -I../../../../samples -o /tmp/rc user.c || exit 1
insmod $LIB/samples/mmwatch.ko || exit 1
/tmp/rc >/tmp/rc.out 2>&1 & p=$!
sleep 8; cat /tmp/rc.out
c=$(sed -n 's/^reader //p' /tmp/rc.out); [ -n "$c" ] || exit 1
t=$(pgrep mmwatch/ | head -1)
echo "thread: $(cat /proc/$t/stack | head -4 | tr '\n' ' ')"; echo "unwatch: $(cat /proc/$p/stack | head -4 | tr '\n' ' ')"; echo "reader: $(cat /proc/$c/stack | head -4| tr '\n' ' ')"
kill -9 $p
ends $p 25 || { w="$(where $p)"; kill -9 $c; ends $p 20 || echo "still there"; must_go mmwatch 20; broken "a process that ends its watch cannot be killed: $w; thread: $(cat /proc/$t/stack 2>/dev/null| head -2 | tr '\n' ' ')"; }
kill -9 $c; sleep 1
must_go mmwatch 20
held "killed"
