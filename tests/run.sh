#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the VM, as root: loads the modules, runs all suites, and writes a KTAP file for each
# suite.
#
# Usage: tests/run.sh MODULES PROGRAMS RESULTS KDIR

modules=$1 programs=$2 results=$3 kdir=$4
mkdir -p "$results"

# has OPTION: whether the kernel is configured with this option.
has() {
	grep -qE "^CONFIG_$1=[ym]\$" "$kdir/.config"
}

load() {
	insmod "$(ls "$modules"/{rust,samples,tests}/"$1.ko" 2>/dev/null)"
}

# kunit_suite MODULE: loads a module, which runs its suite. The new lines of the kernel log are the
# result.
kunit_suite() {
	local before
	before=$(dmesg | wc -l)
	echo "-- $1"
	load "$1"
	dmesg --color=never | tail -n "+$((before + 1))" >"$results/$1.ktap"
	rmmod "$1" || echo "not ok 99 rmmod $1" >>"$results/$1.ktap"
}

# program NAME [ARGUMENT]...
program() {
	echo "-- $1"
	"$programs/$1" "${@:2}" >"$results/$1.ktap" 2>&1
}

# On a distribution's kernel, the RAM disk is a module, and the kernel moves pages between NUMA nodes,
# which causes invalidations that the tests do not expect.
! grep -q '^CONFIG_BLK_DEV_RAM=m$' "$kdir/.config" || modprobe brd || exit 1
numa_balancing=/proc/sys/kernel/numa_balancing
[ ! -e "$numa_balancing" ] || echo 0 >"$numa_balancing"

load tether || exit 1

# The modules for the unload tests, which load and unload modules themselves.
export TETHER_MODULES=/tmp/modules
mkdir -p "$TETHER_MODULES"
cp "$modules"/samples/*.ko "$modules"/tests/*.ko "$TETHER_MODULES"
# A program that ordinary users may run but not read.
export TETHER_UNREADABLE=/tmp/unreadable
cp /bin/true "$TETHER_UNREADABLE"
chmod 711 "$TETHER_UNREADABLE"
# A setuid program.
export TETHER_SETUID=/tmp/setuid
cp /bin/true "$TETHER_SETUID"
chmod 4755 "$TETHER_SETUID"
mount -o remount,suid /tmp

kmemleak=/sys/kernel/debug/kmemleak
program unload_test
program device_test
# A short form of "make torture". The debug kernel is slow and needs more time.
program torture_test "$([ -e "$kmemleak" ] && echo 60 || echo 20)" "$RANDOM"

# Runs kmemleak, if the kernel has it. It ignores objects that are younger than five seconds. The
# first of two scans may report objects that are being allocated or freed.
find_leaks() {
	sleep 6
	echo scan >"$kmemleak"
	echo scan >"$kmemleak"
}
# Objects that were leaked on purpose up to here are older than this time.
if [ -e "$kmemleak" ]; then
	find_leaks
	unloaded=$(sed -n 's/^jiffies: //p' /proc/timer_list | head -n 1)
fi

if has KUNIT; then
	kunit_suite kthread_kunit
	kunit_suite kthread_waits_kunit
	kunit_suite task_work_kunit
	kunit_suite tether_doctests
fi

# The example of the README, which is built as an external module.
{
	before=$(dmesg | wc -l)
	echo "KTAP version 1"
	echo "1..3"
	insmod "$modules/../hello/hello.ko" && echo "ok 1 insmod hello" || echo "not ok 1 insmod hello"
	sleep 1.5
	rmmod hello && echo "ok 2 rmmod hello" || echo "not ok 2 rmmod hello"
	said=$(dmesg --color=never | tail -n "+$((before + 1))")
	grep -q 'hello: hello from pid [1-9]' <<<"$said" && grep -q 'hello: tick' <<<"$said" &&
		echo "ok 3 it says hello and ticks" || echo "not ok 3 it says hello and ticks"
} >"$results/readme.ktap"

load test_kthread
program kthread_test

# The poller of samples/: it polls, does not poll while it is paused, and refuses bad values.
{
	number=0
	# check NAME COMMAND...
	check() {
		number=$((number + 1))
		if "${@:2}"; then echo "ok $number $1"; else echo "not ok $number $1"; fi
	}
	poller=/sys/kernel/debug/rust_kthread
	polls() {
		sed 's/polls \([0-9]*\),.*/\1/' "$poller/lateness"
	}
	# refused ERROR FILE TEXT
	refused() {
		! said=$( (LC_ALL=C; echo "$3" >"$poller/$2") 2>&1) && [[ $said = *"$1"* ]]
	}
	echo "KTAP version 1"
	echo "1..8"
	check "insmod" load rust_kthread
	echo 10 >"$poller/period_ms"
	sleep 0.5
	check "it polls" [ "$(polls)" -ge 10 ]
	check "it is paused" sh -c "echo 1 >$poller/paused && grep -qx 1 $poller/paused"
	before=$(polls)
	sleep 0.2
	check "it stands still" [ "$(polls)" = "$before" ]
	check "it cannot be paused again" refused "busy" paused 1
	check "a period of 0 is none" refused "Invalid argument" period_ms 0
	echo 0 >"$poller/paused"
	sleep 0.2
	check "it goes on" [ "$(polls)" -gt "$before" ]
	check "rmmod" rmmod rust_kthread
} >"$results/kthread_sample.ktap"

load tether_test
load test_mmu_notifier
load rust_interval_notifier
load rust_registration_cache
load rust_each_thread
load rust_fd_close
load mmwatch
program task_work_test
program mmu_notifier_test
program registration_cache_test
program each_thread_test
program mmwatch_test
program mmwatch_ranges_test

# The mmwatch program: exit codes and reports.
{
	mmwatch=$programs/../tools/release/mmwatch
	number=0
	# expect NAME CODE PATTERN ARGUMENTS...: checks the exit code, and matches the report.
	expect() {
		local name=$1 code=$2 pattern=$3 ret=0 said
		shift 3
		number=$((number + 1))
		said=$("$mmwatch" "$@" 2>&1) || ret=$?
		if [ "$ret" = "$code" ] && grep -qE -- "$pattern" <<<"$said"; then
			echo "ok $number $name"
		else
			echo "not ok $number $name"
			echo "exit code $ret" "$said" | sed 's/^/# /'
		fi
	}
	# ok NAME COMMAND...
	ok() {
		number=$((number + 1))
		if "${@:2}"; then echo "ok $number $1"; else echo "not ok $number $1"; fi
	}
	quietly() {
		"$@" >/dev/null
	}
	two='import os
if os.fork() == 0:
    os._exit(0)
os.wait()'
	maps='import mmap, time
open("/tmp/maps", "w")
while True:
    mmap.mmap(-1, 1 << 20).close()
    time.sleep(0.01)'
	# A program that is setuid to an ordinary user.
	other_user=/tmp/other_user
	cp /bin/true "$other_user"
	chown 65534 "$other_user"
	chmod 4755 "$other_user"
	echo "KTAP version 1"
	echo "1..41"
	expect "summary" 0 '^  unmap +[1-9][0-9]* +[1-9]' --summary -- true
	expect "all of them" 0 '^  all +[1-9]' -- python3 -S -c 'del [bytearray(1 << 20) for _ in range(8)][:]'
	expect "by whom" 0 '^  munmap +[1-9][0-9]* +[1-9]' -- true
	expect "events" 0 'unmap +0x[0-9a-f]+-0x[0-9a-f]+ +[0-9]+ pages +pid [0-9]+ munmap$' --events -- true
	expect "the program's exit code" 7 '^  all' -- sh -c 'exit 7'
	expect "a signal" 137 '^  all' -- sh -c 'kill -9 $$'
	expect "another program" 0 '^  [0-9]+ sleep \(exec\) +[1-9]' -- sh -c 'exec sleep 0.1'
	expect "a fork" 0 '^  [0-9]+ python3 \(fork\) +[1-9]' -- python3 -S -c "$two"
	# glibc uses vfork(): the child shares its parent's memory until it executes a program.
	expect "a program that was started" 0 '^  2 address spaces' -- python3 -S -c 'import os; os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)'
	expect "threads have one" 0 '^  clear' -- python3 -S -c 'import threading; t = threading.Thread(target=print); t.start(); t.join()'
	expect "no such program" 127 'No such file' -- /nonexistent
	expect "not a program" 126 'Permission denied' -- /etc/passwd
	expect "bad usage" 125 'Usage' --nonsense
	expect "no such process" 125 'process 999999: (ESRCH|No such process)' --pid 999999
	expect "a mapping" 0 '^  munmap +1 +256' --map /tmp/named --summary -- python3 -S -c 'import mmap, time
file = open("/tmp/named", "w+b")
file.truncate(1 << 20)
memory = mmap.mmap(file.fileno(), 1 << 20)
time.sleep(1)
memory.close()'
	expect "a range of nothing" 0 '^  all +0 +0' --range 1000-2000 --summary -- true
	expect "a bad range" 125 'it is empty' --range 2000-1000 -- true
	expect "compared" 0 '^  It took [0-9.]+ s, and [0-9.]+ s unwatched: [-+][0-9.]+ %' --compare --summary -- sleep 0.2
	expect "JSON" 0 '"events": [1-9]' --json -- true
	expect "a record" 0 '^  unmap' --record /tmp/record --svg /tmp/svg --summary -- true
	expect "a report of it" 0 '^  munmap' report /tmp/record
	expect "stacks" 0 '^    munmap\+0x[0-9a-f]+ \(libc.so.6\) < ' --stacks --record /tmp/stacks --summary -- \
		python3 -S -c 'del [bytearray(1 << 20) for _ in range(8)][:]'
	expect "stacks of a record" 0 '^    munmap\+0x[0-9a-f]+ \(libc.so.6\) < ' report /tmp/stacks
	expect "stacks as JSON" 0 '"place": "munmap\+0x[0-9a-f]+ \(libc.so.6\)"' report --json /tmp/stacks
	expect "stacks of events" 0 '^ +in 0x[0-9a-f]+ \(ld-linux' --stacks --events -- true
	expect "untraced" 0 '^  Children are not followed' --untraced -- grep -q '^TracerPid:.0' /proc/self/status
	expect "another program, untraced" 0 '^  [0-9]+ sleep \(exec\) +[1-9]' --untraced -- sh -c 'exec sleep 0.1'
	expect "not followed, untraced" 0 'Not followed: what process [0-9]+ has executed: Operation not permitted' \
		--untraced -- sh -c "exec $other_user"
	expect "all or parts, untraced" 125 'cannot be used with' --untraced --map heap -- true
	expect "no terminal" 125 'needs a terminal' --live -- true
	expect "not a record" 125 'passwd: line 1' report /etc/passwd
	ok "a picture" python3 -c 'import sys, xml.etree.ElementTree as tree
names = [it.tag.split("}")[1] for it in tree.parse("/tmp/svg").iter()]
sys.exit(names.count("path") < 3)'
	# On a terminal: the live view, the program's output, a table at the end, and the exit code.
	TERM=xterm script -qec "$mmwatch -- sh -c 'echo written; sleep 1; exit 7'" /tmp/terminal </dev/null >/dev/null
	ok "a live view: the exit code" [ $? = 7 ]
	ok "a live view" grep -q 'hottest ranges' /tmp/terminal
	ok "above it, what the program writes" grep -q 'written' /tmp/terminal
	ok "after it, the summary" grep -q '^  top ranges' /tmp/terminal
	ok "a registration cache, in C" quietly "$programs/registration_cache"
	ok "a registration cache, in Rust" quietly "$programs/../tools/release/examples/registration_cache"
	python3 -S -c "$maps" &
	watched=$!
	until [ -e /tmp/maps ]; do sleep 0.1; done
	# The time that mmwatch needs to start its watch; longer on the debug kernel.
	long=$([ -e "$kmemleak" ] && echo 20 || echo 3)
	timeout -s INT "$long" "$mmwatch" --pid "$watched" --summary >/tmp/attached 2>&1
	ok "a process that runs" grep -qE '^  munmap +[1-9]' /tmp/attached
	timeout -s INT "$long" "$mmwatch" --pid "$watched" --untraced --summary >/tmp/attached 2>&1 &
	sleep "$((long / 2))"
	traced=$(sed -n 's/^TracerPid:.//p' "/proc/$watched/status")
	wait $!
	ok "a process that runs, untraced" [ "$traced,$(grep -cE '^  munmap +[1-9]' /tmp/attached)" = 0,1 ]
	# If mmwatch is killed, the process that it follows continues.
	timeout -s KILL 2 "$mmwatch" --pid "$watched" --summary >/dev/null 2>&1
	sleep 0.2
	ok "it lives on" sh -c "grep -q '^State:.[SR]' /proc/$watched/status && grep -q '^TracerPid:.0' /proc/$watched/status"
	kill "$watched"
} >"$results/mmwatch_tool.ktap"

# The mmwatch program: programs with and without it, failures, and the truth of its reports. These
# are short forms: scripts/test-mmwatch runs all parts.
# part SUITE PART
part() {
	echo "-- $1"
	python3 -B "tests/$1.py" "$mmwatch" "$2" >"$results/$1.ktap"
}
part mmwatch_matrix signals
part mmwatch_failures permissions
part mmwatch_truth counts

# The kernel's hmm-tests: on the kernel's test_hmm, to show which of them pass on this machine, and
# on Tether's driver, which has the same device nodes. Tests of device memory are left out, because
# Tether's driver has none.
hmm_tests=(open_close anon_read anon_read_prot anon_write anon_write_prot anon_write_child_shared
	anon_write_huge anon_write_hugetlbfs file_read file_write anon_read_multiple anon_teardown mixedmap
	compound userfaultfd_read exclusive exclusive_mprotect exclusive_cow)
# hmm_suite NAME MODULE
hmm_suite() {
	echo "-- $1"
	if insmod "$2"; then
		# The harness applies the first of these options that matches a test.
		"$programs/hmm-tests" -V hmm_device_coherent $(printf ' -t %s' "${hmm_tests[@]}")
		rmmod "$(basename "$2" .ko)" || echo "not ok 99 rmmod"
	else
		echo "TAP version 13"
		echo "1..1"
		echo "not ok 1 insmod $2"
	fi >"$results/$1.ktap" 2>&1
}
# The test for huge pages fails on a kernel without huge pages.
has TRANSPARENT_HUGEPAGE ||
	mapfile -t hmm_tests < <(printf '%s\n' "${hmm_tests[@]}" | grep -vx anon_write_huge)
has TEST_HMM && hmm_suite hmm_tests_on_c "$kdir/lib/test_hmm.ko"
hmm_suite hmm_tests_on_mirror "$modules/samples/rust_hmm_mirror.ko"
"$programs/hmm-tests" -l 2>&1 | awk '/^[#-]/ || /^global/ || !NF { next } { print $NF }' | sort -u |
	grep -vxF "$(printf '%s\n' "${hmm_tests[@]}")" >"$results/hmm_tests.not_run"
load rust_hmm_mirror
program mirror_test
program dma_mirror_test
# Needs a kernel with fault injection.
[ -e /sys/kernel/debug/failslab ] && program fault_test
load rust_task_work
load rust_mmu_notifier
program fuzz_test
rmmod rust_task_work
rmmod rust_mmu_notifier

# Without users, each module can be unloaded, and no object is outstanding.
{
	echo "KTAP version 1"
	[ -e "$kmemleak" ] && echo "1..11" || echo "1..10"
	number=0
	for module in test_kthread test_mmu_notifier tether_test rust_interval_notifier \
		rust_registration_cache rust_each_thread rust_fd_close rust_hmm_mirror mmwatch; do
		number=$((number + 1))
		rmmod "$module" && echo "ok $number rmmod $module" || echo "not ok $number rmmod $module"
	done
	left=$(grep -v '^#' /sys/kernel/debug/tether/outstanding)
	[ -z "$left" ] && echo "ok 10 nothing outstanding" || echo "not ok 10 nothing outstanding: $left"
	if [ -e "$kmemleak" ]; then
		find_leaks
		leaks=$(awk -v since="$unloaded" 'BEGIN { RS = "unreferenced object"; ORS = "" }
			match($0, /jiffies [0-9]+/) && substr($0, RSTART + 8, RLENGTH - 8) > since {
				print "unreferenced object" $0
			}' "$kmemleak")
		[ -z "$leaks" ] && echo "ok 11 kmemleak" || echo "not ok 11 kmemleak"
		[ -z "$leaks" ] || echo "$leaks" | sed 's/^/# /'
	fi
} >"$results/end.ktap"
echo "-- done"
