# SPDX-License-Identifier: GPL-2.0
# seconds: 120
# harmless
insmod flushend.ko || exit 1
must_go flushend 25
held "removed; $(log | grep -a 'flushend: flushed' | sed 's/.*flushed/flushed/')"
