# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
insmod timecycle.ko || exit 1
[ $(log | grep -ac 'timecycle: joins') = 2 ] || exit 1
must_go timecycle 20
held "$(log | grep -a 'timecycle: ' | sed 's/.*timecycle: //' | tr '\n' ';')"
