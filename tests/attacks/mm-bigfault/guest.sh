# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 150
gcc -o /tmp/bigfault user.c || exit 1
insmod bigfault.ko || exit 1
/tmp/bigfault 200 2>&1
log | grep -a 'bigfault: limit'
/tmp/bigfault 0 & p=$!
sleep 2
kill -9 $p
b=$(date +%s%N)
ends $p 60 || broken "a lookup is not ended by SIGKILL: $(where $p)"
ms=$(( ($(date +%s%N) - b) / 1000000 ))
log | grep -a 'bigfault: limit'
must_go bigfault 10
[ $ms -lt 1500 ] || broken "SIGKILL took $ms ms; $(log | grep -a 'bigfault: limit' | sed 's/.*bigfault: //' | tr '\n' ';')"
late=$(log | grep -a 'limit 200' | sed 's/.*after //; s/ ms.*//')
[ "$late" -lt 1000 ] || broken "a limit of 200 ms: $late ms"
held "$ms ms"
