# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 80
gcc -O1 -pthread -o /tmp/threads threads.c || exit 1
/tmp/threads & target=$!
sleep 1
insmod eachdisarm.ko target=$target form=2 2>/dev/null
kill -STOP $target
insmod eachdisarm.ko target=$target form=0 2>/dev/null & loader=$!
ends $loader 15 || broken "insmod hangs: $(where $loader)"
kill -CONT $target; sleep 0.5
insmod eachdisarm.ko target=$target form=1 2>/dev/null & loader=$!
ends $loader 15 || said="form 1: insmod hangs: $(where $loader)"
kill -KILL $target
said="$said $(log | grep -a 'eachdisarm: [0-9]:' | sed 's/.*eachdisarm: //' | tr '\n' ';') $(log | grep -am1 -A1 panicked | sed 's/.*\] //' | tr '\n' ' ')"
log | grep -aq '0: Ok' && broken "$said"
log | grep -aq panicked && broken "$said"
held "$said"
