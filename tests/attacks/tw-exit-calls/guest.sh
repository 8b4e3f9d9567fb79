# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 100
insmod exitcalls.ko || exit 1
cat >/tmp/exitcalls.pl <<'P'
use POSIX;
for my $n (1..20) {
    my $pid = fork();
    if (!$pid) {
        open(my $f, "+<", "/dev/exitcalls") or die;
        open(my $g, "<", "/proc/self/stat") or die;
        ioctl($f, 0xBB01, fileno($g)) or die "ioctl $!";
        if ($n % 3 == 0) { kill 9, $$ }
        if ($n % 3 == 1) { close($f) }
        POSIX::_exit(0);
    }
    waitpid($pid, 0);
}
P
perl /tmp/exitcalls.pl & p=$!
ends $p 60 || broken "a task hangs in its exit: $(where $p)"
sleep 1
for i in $(seq 50); do removes exitcalls 20 || broken "rmmod hangs: $(where $REMOVER)"; [ "$RC" = 0 ] && break; sleep 0.2; done
[ "$RC" = 0 ] || broken "it stays in use: $(cat /sys/kernel/debug/tether/outstanding | tr '\n' ';')"
log | grep -aq 'exitcalls: BAD' && broken "$(log | grep -am1 'exitcalls: BAD')"
held "$(log | grep -a 'exitcalls: ' | sed 's/.*exitcalls: //' | sort | uniq -c | tr '\n' ';')"
