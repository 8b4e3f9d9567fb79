# SPDX-License-Identifier: GPL-2.0
# seconds: 60
loads dltoggle 40 || broken "insmod hangs: $(where $LOADER)"
must_go dltoggle 20
said=$(log | grep -a 'dltoggle: ' | sed 's/.*dltoggle: //' | tr '\n' ';')
echo "$said" | grep -q 'afterwards: Ok' || broken "$said"
held "$said"
