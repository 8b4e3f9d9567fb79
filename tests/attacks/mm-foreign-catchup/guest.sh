# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 80
gcc -o /tmp/cuload user.c || exit 1
insmod cukeep.ko || exit 1
/tmp/cuload cumake.ko & l=$!
for i in $(seq 100); do log | grep -aq 'cukeep: locked' && break; sleep 0.2; done
removes cumake 40 || broken "rmmod of the maker hangs: $(where $REMOVER)"
[ "$RC" = 0 ] || broken "rmmod of the maker: $RC"
log | grep -aq 'finish ends' || early=1
for i in 1 2 3; do for m in rust_task_work rust_fd_close mmwatch; do insmod $LIB/samples/$m.ko; done; for m in rust_task_work rust_fd_close mmwatch; do rmmod $m; done; done
log | grep -a cukeep
for i in $(seq $((30 * SCALE))); do log | grep -aq 'cukeep: done' && break; sleep 1; done
log | grep -aq 'cukeep: done' || broken "rmmod returned while its code runs (${early:-0}); it does not return: $(log | grep -aEm1 'BUG|Oops')"
kill $l
must_go cukeep 15
[ -z "$early" ] || broken "rmmod returned while the second pass ran"
held "rmmod has waited"
