# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 180
slab() { sed -n 's/^Slab: *\([0-9]*\).*/\1/p' /proc/meminfo; }
before=$(slab)
insmod flushgrows.ko &
for i in $(seq 900); do log | grep -aq 'times out' && break; sleep 0.2; done
used=$(($(slab) - before))
wait
after=$(($(slab) - before))
log | grep -aq 'flushgrows: 8000 times' || exit 1
must_go flushgrows 10
[ $used -gt 600 ] && broken "8000 flushes that gave up: slab +$used kB while the work runs, +$after kB afterwards"
held "+$used kB"
