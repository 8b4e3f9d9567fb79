# panics
# alone
# seconds: 60
gcc -w -o /tmp/twicezap user.c || exit 1
insmod twicezap.ko || exit 1
taskset 1 /tmp/twicezap | tee /tmp/twicezap.out
log | grep -a 'twicezap: frame\|twicezap: not\|panicked\|kernel BUG'
grep -q ' [1-9][0-9]* of its' /tmp/twicezap.out && broken "$(cat /tmp/twicezap.out)"
log | grep -aq 'twicezap: not in' && held "not in the table"
broken "a page that is gone was used: $(log | grep -a 'twicezap: frame' | tail -n1 | sed 's/.*twicezap: //')"
