# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 80
sleep 1000 & stopped=$!
kill -STOP $stopped
insmod kwait.ko || exit 1
perl -e 'for my $p ($ARGV[0]+0, -7) { open(my $f, "+<", "/dev/kwait") or die; ioctl($f, 0xBB01, $p) or die "ioctl $!"; close($f) } open(my $f, "+<", "/dev/kwait"); ioctl($f, 0xBB02, 0)' $stopped || exit 1
sleep 8
log | grep -aq 'kwait: waits in' || exit 1
worker=$(log | grep -a 'kwait: waits in' | sed 's/.*in //')
hangs=
log | grep -aq 'kwait: released -7' || hangs="no file is released any more by kworker $worker, as long as a task is stopped: $(where $worker)"
kill -CONT $stopped; sleep 2; kill -KILL $stopped
log | grep -aq 'kwait: released -7' || hangs="$hangs; nor afterwards"
[ -z "$hangs" ] || broken "$hangs"
must_go kwait 10
held "$(log | grep -a 'kwait: ' | sed 's/.*kwait: //' | tr '\n' ';')"
