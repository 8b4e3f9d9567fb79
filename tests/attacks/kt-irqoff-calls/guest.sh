# SPDX-License-Identifier: GPL-2.0
# seconds: 60
insmod irqoff.ko || exit 1
perl -e 'for (1..20) { open(my $f, "+<", "/dev/irqoff") or die; open(my $g, "<", "/proc/self/stat") or die; ioctl($f, 0xBB01, fileno($g)) or print "ioctl $!\n" }' & p=$!
ends $p 40 || broken "the task hangs: $(where $p)"
sleep 1
perl -e 'open(F, "+<", "/dev/irqoff"); ioctl(F, 0xBB02, 0)'
must_go irqoff 20
log | grep -aq 'irqoff: BAD' && broken "$(log | grep -am1 'irqoff: BAD')"
held "$(log | grep -a 'irqoff: wrong' | sed 's/.*irqoff: //')"
