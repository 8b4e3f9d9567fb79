# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Functions for the guest.sh of an attack, which runs in a copy of the attack's directory with
# tether.ko loaded.
#
#   LIB    the directory with Tether's modules
#   SCALE  the factor by which this kernel is slower than the dev kernel

# held TEXT..., broken TEXT...: prints the verdict and ends the attack. The first verdict counts.
held() {
	echo "RESULT HELD $*"
	exit 0
}
broken() {
	echo "RESULT BROKEN $*"
	exit 0
}

# log: prints the kernel's log since the beginning of the attack.
log() {
	dmesg --color=never | tac | sed '/attack begins/q' | tac
}

# ends PID SECONDS: succeeds if the child ends within SECONDS, scaled by SCALE.
ends() {
	local tries
	for ((tries = 0; tries < $2 * SCALE * 5; tries++)); do
		kill -0 "$1" 2>/dev/null || return 0
		sleep 0.2
	done
	return 1
}

# where PID: prints the innermost kernel functions of the process and its children.
where() {
	local pid
	for pid in $(pgrep -P "$1") "$1"; do
		echo "$(cat "/proc/$pid/comm"): $(head -n 3 "/proc/$pid/stack" | sed 's/^\[<0>\] //; s/+.*//' | tr '\n' ' ')"
	done 2>/dev/null
}

# removes MODULE SECONDS: succeeds if rmmod returns within SECONDS. Sets RC to the exit code of
# rmmod, and REMOVER to the pid of its parent shell.
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

# loads MODULE SECONDS [PARAMETER...]: succeeds if insmod returns within SECONDS. Sets RC
# to the exit code of insmod, and LOADER to the pid of its parent shell.
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

# must_go MODULE SECONDS: removes the module, and ends the attack as broken if rmmod fails or does
# not return within SECONDS.
must_go() {
	removes "$1" "$2" || broken "rmmod hangs: $(where $REMOVER)"
	[ "$RC" = 0 ] || broken "rmmod: exit code $RC"
}
