# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
gcc -O1 -o /tmp/memcg user.c || exit 1
insmod $LIB/samples/rust_interval_notifier.ko || exit 1
chmod 666 /dev/rust-interval-notifier
mkdir -p /tmp/cg && mount -t cgroup2 none /tmp/cg || exit 1
echo +memory >/tmp/cg/cgroup.subtree_control
mkdir /tmp/cg/user && echo $((32 << 20)) >/tmp/cg/user/memory.max || exit 1
b=$(sed -n 's/^MemAvailable: *\([0-9]*\).*/\1/p' /proc/meminfo)
(echo $BASHPID >/tmp/cg/user/cgroup.procs; exec /tmp/memcg 50 >/tmp/memcg.out 2>&1) & p=$!
for i in $(seq $((20 * SCALE))); do grep -q files /tmp/memcg.out && break; kill -0 $p 2>/dev/null || break; sleep 1; done
a=$(sed -n 's/^MemAvailable: *\([0-9]*\).*/\1/p' /proc/meminfo)
c=$(cat /tmp/cg/user/memory.current)
s="limit 32 MiB; $(cat /tmp/memcg.out): charged $((c >> 20)) MiB, taken $(((b - a) >> 10)) MiB; oom_kill $(sed -n 's/^oom_kill //p' /tmp/cg/user/memory.events)"
echo "$s"
kill -9 $p; wait $p
must_go rust_interval_notifier 20
[ $(((b - a) >> 10)) -gt 100 ] && broken "$s"
held "$s"
