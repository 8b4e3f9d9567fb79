# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
gcc -O1 -pthread -o /tmp/nested user.c || exit 1
insmod nested.ko || exit 1
/tmp/nested & p=$!
ends $p 15 && { log | grep -a nested:; must_go nested 20; held "$(log | grep -a 'nested: ' | sed 's/.*nested: //')"; }
kill -9 $p
ends $p 15 && { must_go nested 20; held "ended by SIGKILL"; }
for q in /proc/$p/task/*; do echo "$q: $(sed -n 's/^State:.//p' $q/status): $(head -n 6 $q/stack | sed 's,+.*,,; s/^.*\] //' | tr '\n' ' ')"; done
broken "SIGKILL does not end the process: $(for q in /proc/$p/task/*; do echo "$(sed -n 's/^State:.//p' $q/status) $(head -n 3 $q/stack | sed 's,+.*,,; s/^.*\] //' | tr '\n' ' ')"; done | tr '\n' ';')"
