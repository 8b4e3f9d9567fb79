# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 80
insmod glkeep.ko || exit 1
insmod glmake.ko || exit 1
sleep 1
removes glmake 15 || broken "rmmod of the maker hangs"
[ "$RC" = 0 ] || broken "rmmod of the maker: $RC"
[ -z "$FILL" ] || for m in rust_task_work rust_fd_close rust_mmu_notifier mmwatch; do insmod $LIB/samples/$m.ko; done
for i in $(seq $((40 * SCALE))); do log | grep -aq 'glkeep: done' && break; sleep 1; done
log | grep -a glkeep
[ -z "$FILL" ] || for m in rust_task_work rust_fd_close rust_mmu_notifier mmwatch; do rmmod $m; done
log | grep -aq 'glkeep: done' || broken "it does not return: $(log | grep -aEm1 'BUG|Oops|WARNING')"
must_go glkeep 15
held "locked after its maker"
