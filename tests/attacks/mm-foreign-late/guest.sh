# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 110
gcc -o /tmp/flload user.c || exit 1
insmod flkeep.ko || exit 1
/tmp/flload flmake.ko & l=$!
for i in $(seq 100); do log | grep -aq 'flkeep: slow begins' && break; sleep 0.2; done
removes flmake 60 || broken "rmmod of the maker hangs: $(where $REMOVER)"
[ "$RC" = 0 ] || broken "rmmod of the maker: $RC"
log | grep -aq 'closure ends' || early=1
for i in 1 2; do for m in rust_task_work rust_fd_close mmwatch; do insmod $LIB/samples/$m.ko; done; for m in rust_task_work rust_fd_close mmwatch; do rmmod $m; done; done
for i in $(seq $((40 * SCALE))); do log | grep -aq 'flkeep: done\|BUG: \|Oops' && break; sleep 1; done
log | grep -a -A3 'flkeep\|BUG: \|RIP' | head -40
log | grep -aq 'flkeep: zapped true' || exit 1
log | grep -aq 'flkeep: done' || broken "rmmod returned while its code is called (${early:-0}): $(log | grep -aEm1 'BUG|Oops')"
kill $l
must_go flkeep 20
[ -z "$early" ] || broken "rmmod has returned, and what was missed is caught up after that"
held "rmmod has waited"
