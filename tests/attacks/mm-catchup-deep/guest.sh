# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 40
gcc -o /tmp/catchup user.c || exit 1
insmod catchup.ko || exit 1
/tmp/catchup & p=$!
ends $p 15 || broken "it does not return: $(log | grep -aEm1 'BUG|Oops|stack')"
log | grep -a catchup:
log | grep -aEq 'BUG|Oops|stack guard' && broken "$(log | grep -aEm1 'BUG|Oops|stack guard')"
must_go catchup 10
held "$(log | grep -a 'catchup: ' | sed 's/.*catchup: //' | head -1)"
