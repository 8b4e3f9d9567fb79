# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 40
insmod iocbqueued.ko || exit 1
perl -e 'open(F, "<", "/dev/iocbqueued") or die; $n = sysread(F, $b, 8); print "read: $!\n"'
must_go iocbqueued 10
held "the read failed"
