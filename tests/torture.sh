#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the VM, as root: the torture test.
#
# Usage: tests/torture.sh MODULES PROGRAMS RESULTS SECONDS SEED

modules=$1 programs=$2 results=$3 seconds=$4 seed=$5
mkdir -p "$results"

export TETHER_MODULES=/tmp/modules
mkdir -p "$TETHER_MODULES"
cp "$modules"/rust/*.ko "$modules"/tests/*.ko "$TETHER_MODULES"
insmod "$TETHER_MODULES/tether.ko" || exit 1
# Log the stack of each task that is blocked for longer than this.
echo 30 >/proc/sys/kernel/hung_task_timeout_secs
echo -1 >/proc/sys/kernel/hung_task_warnings
"$programs/torture_test" "$seconds" "$seed" 2>&1 | tee "$results/torture_test.ktap"
exit "${PIPESTATUS[0]}"
