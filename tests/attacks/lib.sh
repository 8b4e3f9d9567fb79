# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# For the guest.sh of an attack, which runs in a copy of the attack's folder, with tether.ko loaded.
#
#   LIB    the folder with Tether's modules
#   SCALE  how many times slower than the dev kernel this kernel is

# The verdict; the first one counts.
held() {
	echo "RESULT HELD $*"
	exit 0
}
broken() {
	echo "RESULT BROKEN $*"
	exit 0
}

# The kernel's log since the attack has begun.
log() {
	dmesg --color=never | tac | sed '/attack begins/q' | tac
}

# ends PID SECONDS: whether the child ends within that time.
ends() {
	local tries
	for ((tries = 0; tries < $2 * SCALE * 5; tries++)); do
		kill -0 "$1" 2>/dev/null || return 0
		sleep 0.2
	done
	return 1
}

# where PID: the functions that the process and its children are in.
where() {
	local pid
	for pid in $(pgrep -P "$1") "$1"; do
		echo "$(cat "/proc/$pid/comm"): $(head -n 3 "/proc/$pid/stack" | sed 's/^\[<0>\] //; s/+.*//' | tr '\n' ' ')"
	done 2>/dev/null
}

# removes MODULE SECONDS: whether rmmod returns within that time; RC is its exit code, REMOVER its pid.
removes() {
	RC=
	(
		rmmod "$1" 2>/dev/null
		echo $? >"/tmp/rmmod.$1"
	) &
	REMOVER=$!
	ends $REMOVER "$2" || return 1
	RC=$(cat "/tmp/rmmod.$1")
}

# loads MODULE SECONDS [PARAMETER...]: whether insmod returns within that time; RC and LOADER likewise.
loads() {
	local module=$1 seconds=$2
	shift 2
	RC=
	(
		insmod "$module.ko" "$@" 2>/dev/null
		echo $? >"/tmp/insmod.$module"
	) &
	LOADER=$!
	ends $LOADER "$seconds" || return 1
	RC=$(cat "/tmp/insmod.$module")
}

# must_go MODULE SECONDS: broken, unless the module can be removed within that time.
must_go() {
	removes "$1" "$2" || broken "rmmod hangs: $(where $REMOVER)"
	[ "$RC" = 0 ] || broken "rmmod: exit code $RC"
}
