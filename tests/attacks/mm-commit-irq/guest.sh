# SPDX-License-Identifier: GPL-2.0
# seconds: 40
loads commitirq 20 || broken "insmod hangs: $(where $LOADER)"
log | grep -a commitirq:
must_go commitirq 10
log | grep -aq 'commit Err(\(EDEADLK\|Error(35)\))' || broken "$(log | grep -a 'commitirq: ' | tail -n 1)"
held "$(log | grep -a 'commitirq: commit' | sed 's/.*commitirq: //')"
