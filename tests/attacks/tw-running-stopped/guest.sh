# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
sleep 1000 & stopped=$!
perl -e 'select(undef, undef, undef, 0.05) while 1' & target=$!
sleep 1
kill -STOP $stopped
insmod rsask.ko || exit 1
insmod rsuse.ko target=$target stopped=$stopped 2>/dev/null & loader=$!
hangs=
ends $loader 8 || { kill -KILL $loader; ends $loader 5 || hangs="a killed insmod hangs as long as another task is stopped: $(where $loader); $(where $target)"; }
kill -CONT $stopped
sleep 2
kill -KILL $stopped $target
log | grep -aq 'rsuse: done' || exit 1
[ -z "$hangs" ] || broken "$hangs"
held "$(log | grep -a 'rsuse: ' | sed 's/.*rsuse: //' | tr '\n' ';')"
