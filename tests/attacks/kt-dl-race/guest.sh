# SPDX-License-Identifier: GPL-2.0
# seconds: 100
insmod dlrace.ko form=1 || exit 1
must_go dlrace 20
log | grep -aq 'threads: Ok(()) Ok(())' || exit 1
loads dlrace 60 || broken "insmod hangs: $(where $LOADER)"
must_go dlrace 20
sleep 2
insmod dlrace.ko form=1 || exit 1
must_go dlrace 20
said=$(log | grep -a 'dlrace: ' | sed 's/.*dlrace: //' | tr '\n' ';')
log | grep -a 'new deadline threads' | tail -n 1 | grep -q 'threads: Ok(()) Ok(())' || broken "bandwidth is lost: $said"
held "$said"
