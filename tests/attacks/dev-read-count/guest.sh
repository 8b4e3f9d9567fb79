# SPDX-License-Identifier: GPL-2.0
# seconds: 30
insmod readcount.ko || exit 1
count=$(perl -e 'open(F, "<", "/dev/readcount") or die; $b = "x" x 4096; require "syscall.ph" if 0; print syscall(0, fileno(F), $b, 8)')
must_go readcount 10
[ "$count" -le 8 ] || broken "read() of 8 bytes returned $count"
held "read() returned $count"
