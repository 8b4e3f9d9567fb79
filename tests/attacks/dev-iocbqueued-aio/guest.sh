# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
gcc -o /tmp/iocbaio user.c || exit 1
insmod iocbaio.ko || exit 1
/tmp/iocbaio &
user=$!
sleep 1
kill -KILL $user
ends $user 10 || broken "a task whose request is never completed cannot be killed: $(where $user)"
must_go iocbaio 10
held "the request was completed"
