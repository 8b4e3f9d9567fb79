# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 90
insmod takebusy.ko || exit 1
cat >/tmp/takebusy.pl <<'P'
my $pid = fork();
for (1..100) {
    open(my $f, "+<", "/dev/takebusy") or die;
    if ($pid) { ioctl($f, 0xBB02, 0); close($f); select(undef, undef, undef, 0.01); }
    else { ioctl($f, 0xBB01, fileno($f)); }
}
waitpid($pid, 0) if $pid;
P
timeout 60 taskset 1 perl /tmp/takebusy.pl
log | grep -aq 'takebusy: BAD' && broken "$(log | grep -am1 'takebusy: BAD')"
sleep 1
must_go takebusy 10
held "no file was released while its ioctl ran"
