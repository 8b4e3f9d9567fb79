# SPDX-License-Identifier: GPL-2.0
# seconds: 110
gcc -O1 -pthread -o /tmp/exclfuse user.c || exit 1
insmod $LIB/samples/rust_hmm_mirror.ko || exit 1
/tmp/exclfuse >/tmp/exclfuse.out 2>&1 & p=$!
for i in $(seq 35); do grep -q stalled /tmp/exclfuse.out && break; sleep 1; done
tail -n 3 /tmp/exclfuse.out
verdict=held words="no page was lost in between: $(tail -n 1 /tmp/exclfuse.out)"
if grep -q stalled /tmp/exclfuse.out; then
	kill -KILL $p
	words="killed: $(grep stalled /tmp/exclfuse.out)"
	if ! ends $p 10; then
		verdict=broken words="SIGKILL does not end it: $(grep State /proc/$p/status | tr -d '\t') $(for t in /proc/$p/task/*; do tr '\n' ' ' <$t/stack; done | sed 's/\[<0>\] //g; s/+0x[^ ]*//g')"
	fi
fi
kill -KILL $(sed -n 's/server //p' /tmp/exclfuse.out) $p
sleep 1
umount -l /tmp/fuse
must_go rust_hmm_mirror 20
$verdict "$words"
