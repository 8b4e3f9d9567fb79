#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the VM, as root: all tests of the mmwatch program. Writes a KTAP file for each suite.
#
# Usage: tests/mmwatch.sh MODULES MMWATCH RESULTS

modules=$1 mmwatch=$2 results=$3
mkdir -p "$results"
mount -o remount,suid /tmp
insmod "$modules/rust/tether.ko" || exit 1
insmod "$modules/samples/mmwatch.ko" || exit 1
for suite in mmwatch_matrix mmwatch_failures mmwatch_truth; do
	echo "-- $suite"
	python3 -B "tests/$suite.py" "$mmwatch" >"$results/$suite.ktap"
done
rmmod mmwatch
