#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the VM, as root: uses an installation that scripts/check-install has made in a directory.
# The exit code is 0 if all checks pass.
#
# Usage: tests/install.sh ROOT HELLO-MODULE

root=$1 hello=$2
mmwatch=$root/usr/local/bin/mmwatch
failed=0

# check NAME COMMAND...
check() {
	if "${@:2}"; then
		echo "ok $1"
	else
		echo "not ok $1"
		failed=1
	fi
}

# says PATTERN CODE COMMAND...: whether the command has this exit code, and prints a line like this.
says() {
	local said ret=0
	said=$("${@:3}" 2>&1) || ret=$?
	[ "$ret" = "$2" ] && grep -qE -- "$1" <<<"$said" && return 0
	printf 'exit code %s: %s\n' "$ret" "$said"
	return 1
}

# as_user GROUP COMMAND...: runs a command as an ordinary user in the group.
as_user() {
	setpriv --reuid 65534 --regid 65534 --groups "$(getent group "$1" | cut -d: -f3)" "${@:2}"
}

check "without the module, mmwatch says how to load it" says 'modprobe mmwatch' 125 "$mmwatch" --summary -- true
check "modprobe mmwatch" modprobe -d "$root" mmwatch
check "modprobe has loaded tether" grep -q '^tether ' /proc/modules
check "root may watch" says '^  all +[1-9]' 0 "$mmwatch" --summary -- true

check "without the rule, the device is root's" [ "$(stat -c '%G %a' /dev/mmwatch)" = "root 600" ]
groupadd --system mmwatch
mkdir -p /run/udev/rules.d
cp "$root"/usr/local/lib/udev/rules.d/60-mmwatch.rules /run/udev/rules.d/
udevadm control --reload
udevadm trigger --action=add --sysname-match=mmwatch --settle
check "with the rule, it is the group's" [ "$(stat -c '%G %a' /dev/mmwatch)" = "mmwatch 660" ]
check "a member of the group may watch its own processes" \
	says '^  all +[1-9]' 0 as_user mmwatch "$mmwatch" --summary -- true
sleep 60 &
check "but not those of another user" says 'not permitted' 125 as_user mmwatch "$mmwatch" --pid $! --summary
kill $!
check "another user may not" says 'Permission denied|root privileges' 125 as_user nogroup "$mmwatch" --summary -- true

check "a module of another author loads" insmod "$hello"
sleep 1.5
check "a module of another author is unloaded" rmmod hello
check "it has used tether" bash -c 'dmesg | grep -q "hello: tick"'
check "rmmod mmwatch" rmmod mmwatch
exit "$failed"
