#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the VM, as root: loads and unloads each of the modules, opens the device if it still
# exists, and lets two seconds pass. Prints a line for each module that the kernel survives.
#
# Usage: tests/oops/guest.sh DIRECTORY [-l LIBRARY] MODULE...

directory=$1
shift
if [ "$1" = -l ]; then
	insmod "$2" || exit 1
	shift 2
fi
for module in "$@"; do
	insmod "$directory/$module.ko" || exit 1
	echo "oops: $module is unloaded" >/dev/kmsg
	rmmod "$module" || exit 1
	# Opens the device.
	cat /dev/forgotten 2>/dev/null
	sleep 2
	echo "survived $module"
done
