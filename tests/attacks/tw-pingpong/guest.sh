# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 150
insmod pingpong.ko || exit 1
chmod 666 /dev/pingpong
perl -e '1 while 1' & other=$!
sleep 0.5
perl -e 'open(F, "+<", "/dev/pingpong") or die; ioctl(F, 0xBB01, $ARGV[0]+0) or die "ioctl $!"; 1 while 1' $other & one=$!
sleep 3
kill -KILL $one $other
hangs=
ends $one 8 || hangs="a killed task hangs: $(cat /proc/$one/status | grep -a State) $(where $one)"
ends $other 8 || hangs="$hangs the other one: $(where $other)"
said=$(log | grep -a 'pingpong: refused' | head -n 1)
if [ -n "$hangs" ]; then
	ends $one 70; ends $other 20
	broken "$hangs $(log | grep -a 'pingpong: over' | sed 's/.*pingpong: //')"
fi
sleep 1
must_go pingpong 10
held "both were killed; ${said#*pingpong: }"
