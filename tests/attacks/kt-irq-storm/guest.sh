# SPDX-License-Identifier: GPL-2.0
# seconds: 120
# harmless
loads irqstorm 90 || broken "insmod hangs: $(where $LOADER)"
[ "$RC" = 0 ] || exit 1
must_go irqstorm 20
log | grep -aq 'irqstorm: BAD' && broken "$(log | grep -am1 'irqstorm: BAD')"
log | grep -aq 'irqstorm: none left' || broken "payloads are left"
said=$(log | grep -a 'irqstorm: fired' | sed 's/.*irqstorm: //')
[ -n "$said" ] || exit 1
case $said in *'wrong answers 0') held "$said" ;; *) broken "$said" ;; esac
