# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
sleep 1000 & stopped=$!
perl -e 'select(undef, undef, undef, 0.05) while 1' & target=$!
sleep 1
kill -STOP $stopped
insmod ifask.ko || exit 1
insmod ifuse.ko target=$target stopped=$stopped 2>/dev/null & loader=$!
hangs=
ends $loader 20 || { kill -KILL $loader; ends $loader 5 || hangs="a killed insmod hangs as long as another task is stopped: $(where $loader); $(where $target)"; }
kill -CONT $stopped
ends $loader 10 || hangs="$hangs; insmod hangs although the task runs"
kill -KILL $stopped $target
log | grep -aq 'ifuse: done' || exit 1
[ -z "$hangs" ] || broken "$hangs $(log | grep -a 'ifuse: ' | sed 's/.*ifuse: //' | tr '\n' ';')"
held "$(log | grep -a 'ifuse: ' | sed 's/.*ifuse: //' | tr '\n' ';')"
