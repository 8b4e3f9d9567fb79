# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
loads deepdrop 45 || broken "insmod hangs: $(where $LOADER)"
log | grep -aq 'dropped 50' || broken "$(log | grep -a 'deepdrop: drop' | tail -n1 | sed 's/.*deepdrop: //'): $(log | grep -aim1 'BUG:\|stack')"
must_go deepdrop 10
held "a chain of 50 threads is dropped"
