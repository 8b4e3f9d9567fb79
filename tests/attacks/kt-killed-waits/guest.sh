# SPDX-License-Identifier: GPL-2.0
# seconds: 120
# harmless
insmod killedwaits.ko 2>/dev/null & p=$!
for i in $(seq 100); do log | grep -aq 'killedwaits: waiting' && break; sleep 0.1; done
sleep 0.5
kill -9 $p
ends $p 60 || broken "insmod does not end: $(where $p)"
[ -d /sys/module/killedwaits ] && broken "the module is left"
log | grep -aq 'killedwaits: BAD' && broken "$(log | grep -am1 'killedwaits: BAD')"
log | grep -aq 'killedwaits: none left' || broken "payloads are left: $(log | grep -a killedwaits: | tail -n 3)"
log | grep -aq 'wrong answers 0' || broken "$(log | grep -a 'wrong answers')"
held "$(log | grep -a 'killedwaits: spawn' | sed 's/.*killedwaits: //')"
