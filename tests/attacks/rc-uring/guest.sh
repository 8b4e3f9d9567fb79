# SPDX-License-Identifier: GPL-2.0
# seconds: 60
gcc -O1 -pthread -I../../../../samples -I../../../../tests/attacks -o /tmp/ru user.c || exit 1
insmod $LIB/samples/rust_registration_cache.ko || exit 1
for mode in 0 2 4; do timeout -s KILL 30 /tmp/ru $mode >/tmp/ru.$mode 2>&1; echo "mode $mode"; cat /tmp/ru.$mode; done
must_go rust_registration_cache 20
grep -q BAD /tmp/ru.? && broken "$(grep -hm2 BAD /tmp/ru.? | tr '\n' ';')"
grep -q done /tmp/ru.0 || exit 1
held "$(grep -h ok /tmp/ru.? | head -n 3 | tr '\n' ';')"
