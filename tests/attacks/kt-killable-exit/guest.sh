# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
insmod killexit.ko || exit 1
perl -e 'open(F, "+<", "/dev/killexit") or die; sleep 1000' &
user=$!
sleep 3
kill -KILL $user
for i in $(seq 20); do log | grep -aq 'killexit: joins' && break; sleep 0.2; done
log | grep -aq 'killexit: joins' || exit 1
hangs=
ends $user 5 || { kill -KILL $user; ends $user 8 || hangs="a task in its exit cannot be killed in join_killable(): $(grep -a State /proc/$user/status) $(where $user)"; }
cat /dev/killexit
sleep 2
[ -z "$hangs" ] || broken "$hangs"
held "$(log | grep -a 'killexit: ' | tail -n 1)"
