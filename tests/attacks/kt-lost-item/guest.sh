# SPDX-License-Identifier: GPL-2.0
# seconds: 60
# harmless
loads lostitem 40 || broken "insmod hangs: $(where $LOADER)"
[ "$RC" = 0 ] || exit 1
must_go lostitem 10
said=$(log | grep -a 'lostitem: flushed' | sed 's/.*lostitem: //')
log | grep -aq 'lostitem: BAD' && broken "the pending item neither ran nor came back: $said"
held "$said"
