# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
insmod dmaunbind.ko || exit 1
log | grep -aq 'dmaunbind: bound' || exit 1
for i in $(seq $((15 * SCALE))); do log | grep -aq 'dmaunbind: unbound' && break; sleep 1; done
log | grep -a dmaunbind:
if ! log | grep -aq 'dmaunbind: unbound'; then
	t=$(pgrep -x dmaunbind)
	broken "the thread waits for itself: $(sed -n 's/^State:.//p' /proc/$t/status) $(head -n 4 /proc/$t/stack | sed 's,+.*,,; s/^.*\] //' | tr '\n' ' ')"
fi
must_go dmaunbind 20
held "the device was unbound"
