# seconds: 30
loads samename 20 || broken "insmod hangs: $(where $LOADER)"
[ "$RC" = 0 ] || exit 1
must_go samename 10
log | grep -aq 'Call Trace' && broken "a stack trace: $(log | grep -am1 'duplicate')"
held "$(log | grep -a 'samename: the' | sed 's/.*samename: //' | tr '\n' ';')"
