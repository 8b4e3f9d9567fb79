#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the VM, as root: the long forms of what tests/run.sh has in short.
#
# Usage: tests/stress.sh MODULES PROGRAMS RESULTS WORKS ROUNDS

modules=$1 programs=$2 results=$3
export TETHER_WORKS=$4 TETHER_STORM=$5
mkdir -p "$results"

export TETHER_MODULES=/tmp/modules
mkdir -p "$TETHER_MODULES"
cp "$modules"/rust/*.ko "$modules"/samples/*.ko "$modules"/tests/*.ko "$TETHER_MODULES"
insmod "$TETHER_MODULES/tether.ko" || exit 1

echo "-- $TETHER_STORM times: load, queue on a sleeper, rmmod, release, rmmod"
"$programs/unload_test" -t storm >"$results/storm.ktap" 2>&1
insmod "$TETHER_MODULES/tether_test.ko" || exit 1
echo "-- $TETHER_WORKS works on self, a tenth as many across threads that exit"
"$programs/task_work_test" -t many_on_self -t many_across >"$results/many.ktap" 2>&1
rmmod tether_test || exit 1
# Nothing is left that would keep a module, or be lost.
! grep -v '^#' /sys/kernel/debug/tether/outstanding
