# SPDX-License-Identifier: GPL-2.0
# seconds: 90
for form in 0 1 2; do
	insmod killallow.ko form=$form || exit 1
	sleep 1
	kill -KILL "$(pgrep -x killallow)" || exit 1
	for i in $(seq $((10 * SCALE))); do log | grep -aq "form $form: sleep" && break; sleep 1; done
	must_go killallow 20
done
said=$(log | grep -a 'killallow: ' | sed 's/.*killallow: //' | tr '\n' ';')
# Either the signal is refused, or it arrives.
echo "$said" | grep -q 'allowed: Ok' && echo "$said" | grep -q 'timed out' && broken "$said"
held "$said"
