# SPDX-License-Identifier: GPL-2.0
# seconds: 90
gcc -O1 -pthread -o /tmp/exclerr user.c || exit 1
insmod $LIB/samples/rust_hmm_mirror.ko || exit 1
for mode in 0 1 2; do
	/tmp/exclerr $mode $((20 * SCALE)) >>/tmp/exclerr.out 2>&1 & p=$!
	ends $p 40 || broken "the process does not end: $(where $p)"
done
cat /tmp/exclerr.out
must_go rust_hmm_mirror 20
# The sample returns ENOENT if the process has accessed the page before the copy. EPERM is the error
# of a read-only mapping.
grep -q EFAULT /tmp/exclerr.out && broken "$(tr '\n' ';' </tmp/exclerr.out)"
held "$(tr '\n' ';' </tmp/exclerr.out)"
