#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the VM, as root: measures the cost of mapping and unmapping memory with different
# watchers, and of whole programs. Prints a line for each watcher:
#	BY|watcher|median|quartile|quartile
# and a line for each program and watcher, with the minimum and the maximum of two runs:
#	RUN|program|watcher|instructions|instructions
#
# Usage: bench/watched.sh MODULES PROGRAMS MMWATCH KERNEL-SOURCE

modules=$1 programs=$2 mmwatch=$3 kernel=$4
insmod "$modules/rust/tether.ko"
insmod "$modules/samples/mmwatch.ko"

# by WATCHER COMMAND...
by() {
	local what=$1 said
	shift
	said=$("$@" 2>/tmp/errors) || { echo "BY|$what||| ($(head -n 1 /tmp/errors))"; return; }
	echo "BY|$what|${said#WATCHED|}"
}

loop=$programs/bench_watched
by "nothing" "$loop"
by "mmwatch" "$mmwatch" --summary -- "$loop"
by "mmwatch, untraced" "$mmwatch" --summary --untraced -- "$loop"
by "mmwatch, with stacks" "$mmwatch" --summary --stacks -- "$loop"
by "the device, nobody reads" "$loop" device
by "100,000 ranges elsewhere" "$loop" ranges
by "userfaultfd" "$loop" userfaultfd
by "strace" strace -f -o /dev/null "$loop" nothing 2
by "perf trace" perf trace -o /dev/null "$loop" nothing 2
by "nothing, again" "$loop"

# The run time of all tasks, including kernel threads: a nanosecond is an instruction here.
busy() {
	awk '/^cpu0/ { print $8 }' /proc/schedstat
}

sources=$PWD/bench
cd /tmp || exit
seq 500000 | shuf --random-source=<(yes) >lines
cat >program.py <<'PYTHON'
import json
for round in range(8):
    tree = {str(i): [str(j) * 10 for j in range(i % 50)] for i in range(2000)}
    assert len(json.loads(json.dumps(tree))) == 2000
PYTHON

# run PROGRAM BY [WATCHER...]
run() {
	local program=$1 by=$2 least= most= round before took
	shift 2
	case $program in
	compile) set -- "$@" gcc -O2 -c -I"$kernel" "$sources"/{bench,bench_watched,bench_allocations}.c ;;
	sort) set -- "$@" sort -o sorted lines ;;
	python) set -- "$@" python3 -S program.py ;;
	esac
	# The first round warms up.
	for round in 0 1 2; do
		before=$(busy)
		"$@" >/dev/null 2>/tmp/errors || { echo "RUN|$program|$by|| ($(head -n 1 /tmp/errors))"; return; }
		took=$(($(busy) - before))
		[ "$round" = 0 ] && continue
		if [ -z "$least" ] || [ "$took" -lt "$least" ]; then least=$took; fi
		if [ -z "$most" ] || [ "$took" -gt "$most" ]; then most=$took; fi
	done
	echo "RUN|$program|$by|$least|$most"
}

for program in compile sort python; do
	run "$program" "nothing"
	run "$program" "mmwatch" "$mmwatch" --summary --
	run "$program" "mmwatch, untraced" "$mmwatch" --summary --untraced --
	run "$program" "strace" strace -f -o /dev/null
done
