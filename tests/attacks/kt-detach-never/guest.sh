# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 120
sleep 1000 & target=$!
for i in 1 2 3 4 5 6; do
	loads detachnever 20 target=$target || broken "insmod hangs: $(where $LOADER); $(log | grep -a 'detachnever: ' | sed 's/.*detachnever: //' | tr '\n' ';') $(cat /sys/kernel/debug/tether/outstanding | tr '\n' ';')"
done
kill $target
held "$(log | grep -a 'detachnever: ' | sed 's/.*detachnever: //' | sort | uniq -c | tr '\n' ';')"
