#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the VM, as root: the test that leaks an object of each kind, with a module that must make
# the test fail.
#
# Usage: tests/stale.sh MODULES PROGRAMS

modules=$1 programs=$2
export TETHER_MODULES=/tmp/modules TETHER_LEAK=stale
mkdir -p "$TETHER_MODULES"
cp "$modules"/rust/*.ko "$modules"/samples/*.ko "$modules"/tests/*.ko "$TETHER_MODULES"
insmod "$TETHER_MODULES/tether.ko" || exit 1
"$programs/unload_test" -t one_of_each_kind_is_leaked
