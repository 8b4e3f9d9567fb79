# SPDX-License-Identifier: GPL-2.0
# panics
# alone
# seconds: 90
insmod mmpanic.ko || exit 1
# The process and the file own one reference each. If each of two threads dropped a
# reference that it does not own, none would be left.
perl -e 'open(F, "+<", "/dev/mmpanic") or die "open"; ioctl(F, 0xBB01, 0+$ARGV[0]) or die "ioctl $!"; $x = "a" x 5000000; sleep 2; print "the process is fine\n"; exit 7;' "${THREADS:-2}"
rc=$?
sleep 3
cat /proc/meminfo >/dev/null; ls / >/dev/null
echo "exit code $rc"
[ $rc = 7 ] || broken "the process whose address space it was ended with $rc"
for i in 1 2 3 4 5 6; do perl -e '$x = "b" x 20000000; exit 0' || broken "another process: $?"; done
held "exit code $rc"
