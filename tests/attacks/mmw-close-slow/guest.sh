# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 200
gcc -O1 -o /tmp/cs user.c || exit 1
insmod $LIB/samples/mmwatch.ko || exit 1
insmod $LIB/samples/rust_interval_notifier.ko || exit 1
chmod 666 /dev/mmwatch /dev/rust-interval-notifier
measure () {
	/tmp/cs $1 $2 >/tmp/cs.out 2>&1 & p=$!
	for i in $(seq 100); do grep -q opened /tmp/cs.out && break; sleep 0.1; done
	b=$(date +%s%N)
	kill -9 $p
	ends $p ${3:-170}; r=$?
	T=$((($(date +%s%N) - b) / 1000000))
	[ $r = 0 ]
}
measure /dev/rust-interval-notifier 4000 60; o=$T; echo "interval notifier: $(cat /tmp/cs.out), died in $o ms"
measure /dev/mmwatch 4000 120 || { echo "where: $(where $p)"; x=" (still there)"; }
echo "mmwatch: $(cat /tmp/cs.out), died in $T ms$x"
w=$T
[ -z "$x" ] || { for i in $(seq 60); do kill -0 $p 2>/dev/null || break; sleep 1; done; }
must_go mmwatch 20; must_go rust_interval_notifier 20
[ $w -lt 20000 ] || broken "4000 files of mmwatch: a process that was killed dies in $w ms$x; of rust_interval_notifier: $o ms"
held "4000 files of mmwatch: $w ms, of rust_interval_notifier: $o ms"
