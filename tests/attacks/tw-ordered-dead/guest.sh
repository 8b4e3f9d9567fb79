# SPDX-License-Identifier: GPL-2.0
# alone
# panics
# seconds: 60
insmod ordereddead.ko || exit 1
perl -e '1 while 1' & target=$!
sleep 0.5
perl -e 'open(F, "+<", "/dev/ordereddead") or die; ioctl(F, 0xBB01, $ARGV[0]+0) or die "$!"' $target
wait $target
said=$(log | grep -a 'ordereddead: [ar]' | tail -n 1 | sed 's/.*ordereddead: //')
case $said in
accepted*) broken "an item for a task that is gone: $said; $(cat /sys/kernel/debug/tether/outstanding | tr '\n' ';')" ;;
esac
held "$said"
