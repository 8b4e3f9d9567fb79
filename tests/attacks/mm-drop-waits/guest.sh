# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 240
gcc -o /tmp/dropwaits user.c || exit 1
said=
insmod dropwaits.ko || exit 1
# Keep the module loaded during the measurement: its teardown would remove the inner
# registrations first.
for what in '1 4' '2 68'; do
	/tmp/dropwaits $what || exit 1
	r=$(date +%s)
	for i in $(seq 80); do log | grep -a "dropwaits: $what: all" >/dev/null && break; sleep 1; done
	s=$(($(date +%s) - r))
	said="$said; $what: dropped after $s s, $(log | grep -a "dropwaits: $what: all" | tail -n 1 | sed 's/.*: all//')"
	echo "$said"
	[ $s -lt 20 ] || bad=1
done
r=$(date +%s)
must_go dropwaits 80
said="$said; rmmod took $(($(date +%s) - r)) s"
[ -z "$bad" ] || broken "$said"
held "$said"
