# SPDX-License-Identifier: GPL-2.0
# seconds: 40
# Runs the example of rust_interval_notifier.rs with a start address.
insmod $LIB/samples/rust_interval_notifier.ko || exit 1
cat >/tmp/ivn.py <<'P'
import ctypes, mmap, os, struct
memory = mmap.mmap(-1, 65536, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory[0] = 1
start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
device = os.open("/dev/rust-interval-notifier", os.O_RDWR)
os.write(device, struct.pack("QQ", start, 65536))
print("page %x, changed %d times" % struct.unpack("QQ", os.pread(device, 16, 0)))
P
/usr/bin/python3 /tmp/ivn.py >/tmp/ivn.out 2>&1; c=$?
cat /tmp/ivn.out
must_go rust_interval_notifier 10
[ $c = 0 ] || broken "the example in the sample's documentation: $(tail -n 1 /tmp/ivn.out)"
held "$(cat /tmp/ivn.out)"
