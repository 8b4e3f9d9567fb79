# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
insmod takelate.ko || exit 1
# The process passes the write end of its pipe to the driver, and reads until the end of the pipe.
perl -e 'pipe(my $r, my $w) or die; open(my $d, "+<", "/dev/takelate") or die; ioctl($d, 0xBB01, fileno($w)) or die "ioctl: $!"; my $n = sysread($r, my $b, 1); print "read: $n\n"; require POSIX; POSIX::_exit(0)' & p=$!
sleep 4
log | grep -aq 'takelate: dropped' || { kill -9 $p; sleep 1; rmmod takelate; exit 1; }
if ends $p 10; then
	must_go takelate 20
	held "the file was released"
fi
w=$(where $p)
kill -CONT $p; sleep 1; kill -0 $p 2>/dev/null || echo "a signal has released it"
kill -9 $p; sleep 1
must_go takelate 20
broken "a file that was dropped 10 s ago is not released: its task sleeps in a later system call: $w"
