#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the VM, as root: runs a single suite. The exit code is 0 if all of its tests pass.
#
# Usage: tests/guard.sh MODULES PROGRAMS SUITE

modules=$1 programs=$2 suite=$3
failed=0

load() {
	insmod "$(ls "$modules"/{rust,samples,tests}/"$1.ko" 2>/dev/null)" || failed=1
}

load tether
export TETHER_MODULES=/tmp/modules TETHER_UNREADABLE=/tmp/unreadable TETHER_SETUID=/tmp/setuid
mkdir -p "$TETHER_MODULES"
cp "$modules"/samples/*.ko "$modules"/tests/*.ko "$TETHER_MODULES"
cp /bin/true "$TETHER_UNREADABLE"
chmod 711 "$TETHER_UNREADABLE"
cp /bin/true "$TETHER_SETUID"
chmod 4755 "$TETHER_SETUID"
mount -o remount,suid /tmp

loaded=
case $suite in
unload_test | device_test) ;;
*_kunit) loaded=$suite ;;
kthread_test) loaded=test_kthread ;;
task_work_test) loaded="tether_test test_mmu_notifier rust_fd_close" ;;
mmu_notifier_test) loaded="tether_test test_mmu_notifier rust_interval_notifier" ;;
mirror_test) loaded=rust_hmm_mirror ;;
mmwatch*) loaded=mmwatch ;;
esac
for module in $loaded; do load "$module"; done
case $suite in
*_kunit) ! dmesg --color=never | grep -E '(^|\] ) *not ok|EXPECTATION FAILED' || failed=1 ;;
*) "$programs/$suite" || failed=1 ;;
esac
for module in $loaded; do rmmod "$module" || failed=1; done
! grep -v '^#' /sys/kernel/debug/tether/outstanding || failed=1
exit "$failed"
