# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 120
insmod adoptlib.ko || exit 1
taskset 2 bash -c 'while :; do :; done' &
target=$!
taskset 2 insmod adoptrace.ko target=$target || exit 1
for i in $(seq $((60 * SCALE))); do log | grep -aq 'adoptrace: added' && break; sleep 1; done
said=$(log | grep -a 'adoptrace: added' | sed 's/.*adoptrace: //')
[ -n "$said" ] || exit 1
removes adoptrace 10 || broken "rmmod hangs: $said"
[ "$RC" = 0 ] || broken "the module stays pinned: $said; outstanding: $(grep adopt /sys/kernel/debug/tether/outstanding)"
kill -9 $target
must_go adoptlib 10
case $said in *'refused None') held "$said" ;; *) broken "$said" ;; esac
