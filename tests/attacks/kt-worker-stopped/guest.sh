# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
sleep 1000 &
stopped=$!
kill -STOP $stopped
insmod workstopped.ko target=$stopped &
loader=$!
hangs=
ends $loader 8 || { kill -KILL $loader; ends $loader 8 || hangs="a killed insmod hangs as long as another task is stopped: $(where $loader)"; }
kill -CONT $stopped
sleep 2
kill -KILL $stopped
log | grep -aq 'workstopped: waits' || exit 1
[ -z "$hangs" ] || broken "$hangs"
held "$(log | grep -a 'waited' | sed 's/.*workstopped: //')"
