# SPDX-License-Identifier: GPL-2.0
# seconds: 90
# harmless
for n in 1 2 3; do
	loads dropcalls 20 || broken "insmod hangs: $(where $LOADER)"
	[ "$RC" = 0 ] || exit 1
	sleep 0.$((n * 4))
	must_go dropcalls 30
	log | grep -aq 'dropcalls: BAD' && broken "$(log | grep -am1 'dropcalls: BAD')"
	[ $(log | grep -ac 'dropcalls: none left') -ge $n ] || broken "round $n: payloads are left"
done
held "$n rounds; each payload was dropped once"
