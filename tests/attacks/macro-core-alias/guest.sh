# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 30
insmod corealias.ko || exit 1
sleep 1
b=$(log | grep -am1 "corealias: BAD")
must_go corealias 10
[ -z "$b" ] || broken "$b"
log | grep -aq 'corealias: good' || exit 1
held "the item was found"
