# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 90
taskset 1 insmod irqlock.ko &
pid=$!
ends $pid 60 || broken "insmod hangs: $(where $pid)"
log | grep -aq 'irqlock: done' || exit 1
must_go irqlock 20
held "$(log | grep -a 'irqlock: done' | sed 's/.*irqlock: //')"
