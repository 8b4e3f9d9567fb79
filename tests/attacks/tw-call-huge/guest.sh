# SPDX-License-Identifier: GPL-2.0
# seconds: 60
sleep 1000 & target=$!
kill -STOP $target
for form in 0 1; do
	loads callhuge 15 form=$form target=$target || broken "insmod hangs"
	log | grep -a 'WARNING:\|BUG:' && broken "form $form: $(log | grep -am2 'WARNING:\|BUG:')"
	must_go callhuge 10
done
kill -CONT $target; kill $target
held "$(log | grep -a 'callhuge: ' | sed 's/.*callhuge: //' | tr '\n' ';')"
