# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
insmod passreadd.ko || exit 1
perl -e 'open(F, "+<", "/dev/passreadd") or die; ioctl(F, 0xBB01, 0) or die "$!"; sleep 1000' & target=$!
sleep 1
kill -KILL $target
hangs=
ends $target 10 || hangs="a killed task does not end: $(grep -a '^State' /proc/$target/status | tr '\t' ' ') $(where $target)"
perl -e 'open(F, "+<", "/dev/passreadd") or die; ioctl(F, 0xBB01, 1)'
ends $target 10 || hangs="$hangs; the task does not exit after the adds have ended either"
[ -z "$hangs" ] || broken "$hangs; $(log | grep -a 'passreadd: ' | sed 's/.*passreadd: //' | tr '\n' ';')"
must_go passreadd 20
held "the task was killed; $(log | grep -a 'passreadd: ' | sed 's/.*passreadd: //' | tr '\n' ';')"
