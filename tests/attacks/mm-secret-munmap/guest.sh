# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 170
gcc -O1 -pthread -o /tmp/secret user.c || exit 1
insmod $LIB/samples/rust_hmm_mirror.ko || exit 1
chmod 666 /dev/hmm_dmirror0
/tmp/secret 100 >/tmp/secret.out 2>&1 & p=$!
for i in $(seq 130); do
	kill -0 $p 2>/dev/null || break
	log | grep -aq 'BUG: unable\|Oops' && break
	sleep 1
done
tail -n 5 /tmp/secret.out
log | grep -a -A12 'BUG: unable\|Oops' | head -30
log | grep -aq 'BUG: unable\|Oops' && { kill -9 $p; ends $p 10 && e=dies || e="cannot be killed: $(where $p | head -c 120)"; broken "the kernel faults on secret memory after $(tail -n 1 /tmp/secret.out); the process $e"; }
grep -q 'READ SECRET' /tmp/secret.out && broken "secret memory was read: $(tail -n 1 /tmp/secret.out)"
kill -9 $p 2>/dev/null
grep -q rounds /tmp/secret.out || exit 1
must_go rust_hmm_mirror 20
held "$(tail -n 1 /tmp/secret.out)"
