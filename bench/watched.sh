#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the VM, as root: what mapping and unmapping takes, watched by nothing and by this and that, a line for each:
# BY|what|median|quartile|quartile; and what real programs take, in seconds: RUN|program|by what|seconds.
#
# Usage: bench/watched.sh MODULES PROGRAMS MMWATCH

modules=$1 programs=$2 mmwatch=$3
insmod "$modules/rust/tether.ko"
insmod "$modules/samples/mmwatch.ko"

# by WHAT COMMAND...
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
