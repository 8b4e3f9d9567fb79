#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs attacks in the VM, as root, one after the other, until one has left something behind or has
# switched lockdep off.
#
# Usage: tests/attacks/guest.sh MODULES DIRECTORY SCALE ATTACK=SECONDS...
#   DIRECTORY   has a directory for each attack, and gets ATTACK.said and ATTACK.log

export LIB=$1 SCALE=$3
directory=$2
shift 3
echo 0 >/proc/sys/kernel/hung_task_timeout_secs
# After its first report, or a report of KASAN, lockdep is switched off and sees nothing any more.
lockdep_is_off() {
	grep -qE '^ *debug_locks: +0$' /proc/lockdep_stats 2>/dev/null
}
if lockdep_is_off; then
	echo "lockdep was switched off before the first attack"
	exit 1
fi
insmod "$LIB/rust/tether.ko" || exit 1
for attack in "$@"; do
	name=${attack%=*} seconds=${attack#*=}
	cd "$directory/$name" || exit 1
	echo "attack begins: $name" >/dev/kmsg
	echo "begin $name"
	timeout -s KILL $((seconds * SCALE)) bash -c '. ../lib.sh; . ./guest.sh' </dev/null >"../$name.said" 2>&1
	dmesg --color=never | tac | sed "/attack begins: $name/q" | tac >"../$name.log"
	echo "end $name"
	left=$(grep -v '^tether ' /proc/modules | cut -d' ' -f1 | tr '\n' ' ')
	if [ -n "$left" ] || lockdep_is_off || grep -aq '^RESULT BROKEN' "../$name.said"; then
		echo "left behind: $left"
		exit 0
	fi
done
