# SPDX-License-Identifier: GPL-2.0
# seconds: 60
loads putback 30 || broken "insmod hangs: $(where $LOADER)"
[ "$RC" = 0 ] || exit 1
must_go putback 10
log | grep -aq 'returned Ok(()) after 1 of 2' && broken "$(log | grep -a 'putback: ' | sed 's/.*putback: //' | tr '\n' ';')"
held "$(log | grep -a 'putback: ' | sed 's/.*putback: //' | tr '\n' ';')"
