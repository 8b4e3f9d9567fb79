# alone
# seconds: 90
insmod mmslow.ko || exit 1
insmod mmquick.ko || exit 1
for i in $(seq 50); do [ -e /dev/mmslow ] && [ -e /dev/mmquick ] && break; sleep 0.1; done
exec 3</dev/mmslow 4</dev/mmquick || exit 1
exec 3<&-
sleep 1
log | grep -aq 'mmslow: dropping' || exit 1
exec 4<&-
removes mmquick 15 || broken "rmmod waits for the destructor of another module's notifier: $(where $REMOVER)"
[ "$RC" = 0 ] || broken "rmmod: exit code $RC"
must_go mmslow 40
held "the slow destructor of one module does not delay another one"
