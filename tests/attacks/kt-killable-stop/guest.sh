# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 85
insmod killstop.ko || exit 1
sleep 1000 & stopped=$!
kill -STOP $stopped
said=
for form in 32 33 34 35 36 49; do
	perl -e 'open(my $f, "+<", "/dev/killstop") or die; ioctl($f, $ARGV[0]+0, $ARGV[1]+0)' $form $stopped & p=$!
	ends $p 4 && continue
	kill -KILL $p
	ends $p 4 || said="$said form $form: D state after SIGKILL: $(grep State /proc/$p/status | tr '\t' ' ') $(where $p);"
done
kill -CONT $stopped; kill -KILL $stopped
sleep 2
must_go killstop 15
[ -z "$said" ] || broken "$said"
held "$(log | grep -a 'killstop: ' | sed 's/.*killstop: //' | tr '\n' ';')"
