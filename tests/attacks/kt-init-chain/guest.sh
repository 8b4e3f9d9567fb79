# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 120
sleep 1000 & stopped=$!
kill -STOP $stopped
said=
insmod initchain.ko form=2 || exit 1
removes initchain 20 || said="form 2: rmmod hangs: $(where $REMOVER);"
insmod initchain.ko stopped=$stopped form=0 2>/dev/null & loader=$!
ends $loader 15 || { kill -KILL $loader; ends $loader 5 || said="$said form 0: a killed insmod hangs as long as another task is stopped: $(where $loader);"; }
kill -CONT $stopped
ends $loader 10 || broken "$said insmod hangs although the task runs: $(where $loader)"
kill -KILL $stopped
insmod initchain.ko form=1 2>/dev/null & loader=$!
ends $loader 15 || { kill -KILL $loader; ends $loader 5 || said="$said form 1: a killed insmod hangs: $(where $loader);"; }
[ -z "$said" ] || broken "$said"
held "$(log | grep -a 'initchain: ' | sed 's/.*initchain: //' | tr '\n' ';')"
