# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 80
insmod readd.ko || exit 1
chmod 666 /dev/readd
perl -e '1 while 1' & target=$!
setpriv --reuid=1234 --clear-groups true 2>/dev/null && as="setpriv --reuid=1234 --clear-groups" || as=
$as perl -e 'open(F, "+<", "/dev/readd") or die; my ($n, $ok, $err) = (0, 0, ""); $| = 1; while (1) { if (ioctl(F, 0xBB01, $ARGV[0]+0)) { $ok++ } else { $err = "$!" } $n++; print "$n $ok $err\n" if $n % 500 == 0; last if $! == 3; }' $target >/tmp/readd.out 2>&1 & storm=$!
for i in 1 2 3; do $as perl -e 'open(F, "+<", "/dev/readd") or die; while (1) { ioctl(F, 0xBB01, $ARGV[0]+0); select(undef, undef, undef, 0.004) }' $target & storm="$storm $!"; done
sleep 3
kill -KILL $target
hangs=
ends $target 10 || hangs="a killed task does not end: $(grep -a '^State\|^ShdPnd\|^SigPnd' /proc/$target/status | tr '\n' ' ') $(where $target)"
kill -KILL $storm
ends $target 10 || hangs="$hangs; not even afterwards"
[ -z "$hangs" ] || broken "$hangs"
sleep 1
must_go readd 10
held "the task was killed; $(tail -n 2 /tmp/readd.out | tr "\n" ";")"
