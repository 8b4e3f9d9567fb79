#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Watches two programs. Run as root, on a kernel that the modules were built for.
#
# Usage: samples/mmwatch-demo.sh MODULES MMWATCH

set -e
modules=$1 mmwatch=$2

echo "--- Linux $(uname -r)"
echo "--- insmod tether.ko mmwatch.ko"
insmod "$modules/rust/tether.ko"
insmod "$modules/samples/mmwatch.ko"

echo "--- python3 allocates and frees 64 MiB"
"$mmwatch" --summary -- python3 -S -c '
blocks = [bytearray(1 << 20) for _ in range(64)]
del blocks
'

seq 1 200000 | awk '{ print ($1 * 7919) % 200003 }' >/tmp/numbers
echo "--- sort of a large file, each event (last lines)"
"$mmwatch" --events --output /tmp/sort.log -- sort -n -S 8M -o /tmp/sorted /tmp/numbers
tail -n 12 /tmp/sort.log

echo "--- rmmod mmwatch"
rmmod mmwatch
