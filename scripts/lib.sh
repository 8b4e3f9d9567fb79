# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the scripts share: where things are, how they speak. Sourced, never run.

set -euo pipefail

TETHER=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${TETHER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tether}

# The kernel series that is supported. Point releases come and go in the archive: take
# what is there. What the code needs to know of a series is in rust/bindings/.
KERNEL_SERIES=7.3
# The oldest rustc that this series is built with.
RUST_MINIMUM=1.85.0
# The version of LLVM that the kernel and the modules are built with, when the machine does
# not say otherwise.
LLVM_VERSION=${LLVM_VERSION:-19}

# Colour only for a person.
if [ -t 1 ]; then
	BOLD=$'\e[1m' RED=$'\e[31m' PLAIN=$'\e[0m'
else
	BOLD='' RED='' PLAIN=''
fi

# say WORDS...: one line of progress.
say() {
	printf '%s[tether]%s %s\n' "$BOLD" "$PLAIN" "$*"
}

# die WORDS... [-- NEXT]: what went wrong, then what to do about it.
die() {
	printf '%s[tether] error:%s %s\n' "$RED" "$PLAIN" "$1" >&2
	shift
	local line
	for line in "$@"; do
		printf '         %s\n' "$line" >&2
	done
	exit 1
}

# have COMMAND: whether it can be run.
have() {
	command -v "$1" >/dev/null 2>&1
}

# as_root COMMAND...: run it as root, through sudo where that is needed.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif have sudo; then
		sudo "$@"
	else
		die "root is needed for: $*" "run this as root, or install sudo"
	fi
}

# long NAME LOG COUNT COMMAND...: run a long command into a log with one line of progress
# every so often: COUNT is a command that prints how far it is. Where it fails, the end of
# the log is shown.
long() {
	local name=$1 log=$2 count=$3 start=$SECONDS status=0 pid
	shift 3
	mkdir -p "$(dirname "$log")"
	say "$name (log: $log)"
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	# A person who interrupts this interrupts what runs below it too.
	trap 'kill "$pid" 2>/dev/null; exit 130' INT TERM
	local last=$SECONDS every=20
	[ -t 1 ] && every=2
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.5
		if [ $((SECONDS - last)) -ge "$every" ]; then
			last=$SECONDS
			if [ -t 1 ]; then
				printf '\r\e[K  %s: %s, %d s' "$name" "$(eval "$count")" $((SECONDS - start))
			else
				printf '  %s: %s, %d s\n' "$name" "$(eval "$count")" $((SECONDS - start))
			fi
		fi
	done
	wait "$pid" || status=$?
	trap - INT TERM
	[ -t 1 ] && printf '\r\e[K'
	if [ "$status" != 0 ]; then
		tail -n 40 "$log" >&2
		die "$name failed (exit code $status)" "the whole log: $log" \
			"what is done so far is kept: the same command goes on from there"
	fi
	say "$name: done in $((SECONDS - start)) s"
}

# lines FILE: how many lines, for `long`.
lines() {
	wc -l <"$1" 2>/dev/null || echo 0
}

# saved_command FILE: how Kbuild has compiled a Rust object, by its .cmd file; without what is to be
# written.
saved_command() {
	local command
	command=$(sed -n 's/^savedcmd_[^ ]* := //p' "$1" 2>/dev/null | sed 's/ ; .*//')
	[ -n "$command" ] || die "$1 is not there, or empty" "run: make modules"
	sed -E 's#--emit=(obj|dep-info|metadata)=[^ ]*##g; s#--out-dir [^ ]*##' <<<"$command"
}

# source_of KDIR: the source of a kernel tree that was built.
source_of() {
	local source=$1
	[ -e "$1/source" ] && source=$1/source
	(cd "$source" && pwd -P)
}

# test_programs SOURCE: builds them, in build/tests.
test_programs() {
	long "test programs" "$CACHE/logs/test-programs.log" 'lines "$log"' \
		make -C "$TETHER/tests" KSRC="$1" OUT="$TETHER/build/tests"
}

# The tool chain, where set-up put it. PATH first: what the machine has of its own is used
# when it is good enough, and setup says so.
tool_paths() {
	local llvm=/usr/lib/llvm-$LLVM_VERSION
	PATH=$CACHE/venv/bin:$CACHE/cargo/bin:$HOME/.cargo/bin:$PATH
	export PATH
	[ -d "$llvm/lib" ] && export LIBCLANG_PATH=$llvm/lib
	local library
	library=$CACHE/rust-src/$(rustc --version 2>/dev/null | cut -d' ' -f2)/library
	if [ -d "$library" ]; then
		export RUST_LIB_SRC=$library
	fi
	return 0
}

# bench_initramfs KDIR FOLDER MODULE...: the benchmark's program as init, and these modules, in FOLDER/initramfs.gz.
bench_initramfs() {
	local source work=$2
	source=$(source_of "$1")
	shift 2
	mkdir -p "$work/initramfs"
	gcc -O2 -static -pthread -Wall -Wno-unused-result -I"$TETHER/bench" -I"$source" -o "$work/initramfs/init" \
		"$TETHER/bench/bench.c" || die "the benchmark's program could not be built"
	cp "$@" "$work/initramfs/"
	(cd "$work/initramfs" && find . | LC_ALL=C sort | cpio --quiet -o -H newc | gzip -n >"$work/initramfs.gz")
}
