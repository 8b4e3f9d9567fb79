# SPDX-License-Identifier: GPL-2.0
# seconds: 30
insmod fresharc.ko || exit 1
perl -e 'open(F, "+<", "/dev/fresharc") or die; ioctl(F, 0xBB01, 0) for 1..50'
refused=$(log | grep -ac 'fresharc: refused')
must_go fresharc 10
[ "$refused" = 0 ] || broken "$refused fresh items were refused: $(log | grep -am1 'fresharc: refused')"
held "each fresh item was added"
