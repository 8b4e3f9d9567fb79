# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 40
insmod takekill.ko || exit 1
cat >/tmp/takekill.pl <<'P'
my $pid = fork();
if (!$pid) {
    open(my $f, "+<", "/dev/takekill") or die;
    ioctl($f, 0xBB01, fileno($f));
    exit 0;
}
select(undef, undef, undef, 1);
open(my $g, "+<", "/dev/takekill") or die;
kill 9, $pid;
select(undef, undef, undef, 0.2);
ioctl($g, 0xBB02, 0);
close($g);
waitpid($pid, 0);
P
timeout 30 perl /tmp/takekill.pl
sleep 1
log | grep -a 'takekill:'
must_go takekill 10
log | grep -aq 'takekill: BAD' && broken "$(log | grep -am1 'takekill: BAD')"
log | grep -aq 'takekill: released in order' || exit 1
held "the file was released after the ioctl"
