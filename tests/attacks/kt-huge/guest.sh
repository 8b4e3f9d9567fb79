# SPDX-License-Identifier: GPL-2.0
# seconds: 30
# harmless
loads huge 15 || broken "insmod hangs"
must_go huge 10
held "$(log | grep -a 'huge: ' | sed 's/.*huge: //')"
