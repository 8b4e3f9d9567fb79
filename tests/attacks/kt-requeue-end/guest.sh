# SPDX-License-Identifier: GPL-2.0
# seconds: 150
# harmless
for n in 1 2 3 4 5 6; do
	loads requeueend 20 || broken "insmod hangs: $(where $LOADER)"
	[ "$RC" = 0 ] || exit 1
	sleep 0.$((RANDOM % 10))
	must_go requeueend 40
	log | grep -aq 'requeueend: BAD' && broken "$(log | grep -am1 'requeueend: BAD')"
	[ $(log | grep -ac 'requeueend: none left') -ge $n ] || broken "round $n: items are left"
done
held "$n rounds; each item was dropped once"
