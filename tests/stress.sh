#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the VM, as root: the long forms of some tests of tests/run.sh.
#
# Usage: tests/stress.sh MODULES PROGRAMS RESULTS WORKS ROUNDS THREADS SECONDS SHADOW MIRROR LOADS

modules=$1 programs=$2 results=$3
export TETHER_WORKS=$4 TETHER_STORM=$5 TETHER_CYCLES=$6 TETHER_STORM_SECONDS=$7
export TETHER_SHADOW_SECONDS=$8 TETHER_MIRROR_SECONDS=$9 TETHER_LOADS=${10}
mkdir -p "$results"

export TETHER_MODULES=/tmp/modules
mkdir -p "$TETHER_MODULES"
cp "$modules"/rust/*.ko "$modules"/samples/*.ko "$modules"/tests/*.ko "$TETHER_MODULES"
insmod "$TETHER_MODULES/tether.ko" || exit 1

echo "-- $TETHER_STORM times: load, queue on a sleeper, rmmod, release, rmmod"
"$programs/unload_test" -t storm >"$results/storm.ktap" 2>&1
echo "-- $TETHER_LOADS times: load, rmmod"
"$programs/unload_test" -t many_loads_leave_nothing >"$results/loads.ktap" 2>&1
insmod "$TETHER_MODULES/tether_test.ko" || exit 1
echo "-- $TETHER_WORKS works on self, a tenth as many across threads that exit"
"$programs/task_work_test" -t many_on_self -t many_across >"$results/many.ktap" 2>&1
rmmod tether_test || exit 1
insmod "$TETHER_MODULES/test_kthread.ko" || exit 1
echo "-- $TETHER_CYCLES threads stopped and joined; 100 parked and unparked for $TETHER_STORM_SECONDS s"
"$programs/kthread_test" -t cycles -t storm >"$results/threads.ktap" 2>&1
rmmod test_kthread || exit 1
insmod "$TETHER_MODULES/rust_interval_notifier.ko" || exit 1
echo "-- a shadow of memory to which all kinds of things happen for $TETHER_SHADOW_SECONDS s"
"$programs/mmu_notifier_test" -t storm >"$results/shadow.ktap" 2>&1
rmmod rust_interval_notifier || exit 1
insmod "$TETHER_MODULES/rust_hmm_mirror.ko" || exit 1
echo "-- a device that reads and writes memory to which they happen for $TETHER_MIRROR_SECONDS s"
"$programs/mirror_test" -t storm >"$results/mirror.ktap" 2>&1
rmmod rust_hmm_mirror || exit 1
# No object may be outstanding at the end.
! grep -v '^#' /sys/kernel/debug/tether/outstanding
