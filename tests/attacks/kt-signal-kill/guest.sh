# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
insmod sigkill.ko || exit 1
sleep 1000 & stopped=$!
kill -STOP $stopped
for form in 36 37 38 39; do
	perl -e 'open(my $f, "+<", "/dev/sigkill") or die; ioctl($f, $ARGV[0]+0, $ARGV[1]+0)' $form $stopped & p=$!
	ends $p 9 || broken "form $form hangs: $(where $p)"
done
kill -CONT $stopped; kill -KILL $stopped; sleep 1
must_go sigkill 20
said=$(log | grep -a 'sigkill: form' | sed 's/.*sigkill: form //' | tr '\n' ';')
echo "$said" | grep -q "Error(512)" && broken "$said"
held "$said"
