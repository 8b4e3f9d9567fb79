# SPDX-License-Identifier: GPL-2.0
# seconds: 30
insmod cnthigh.ko || exit 1
sleep 1
must_go cnthigh 10
log | grep -aq 'cnthigh: requested' || exit 1
log | grep -aq 'Unexpected gfp' && broken "$(log | grep -am1 'Unexpected gfp') $(log | grep -a 'cnthigh: requested' | tr '\n' ' ')"
held "$(log | grep -am1 'cnthigh: requested')"
