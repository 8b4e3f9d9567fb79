# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Functions and paths shared by the scripts. Sourced, not run.

set -euo pipefail

TETHER=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${TETHER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tether}

# The supported kernel series. The newest point release in the archive is used. rust/bindings/ has
# the code that depends on the series.
KERNEL_SERIES=7.3
# The oldest rustc that this kernel series supports.
RUST_MINIMUM=1.85.0
# The LLVM version for building the kernel and the modules, unless set in the environment.
LLVM_VERSION=${LLVM_VERSION:-19}

# Use colours only on a terminal.
if [ -t 1 ]; then
	BOLD=$'\e[1m' RED=$'\e[31m' PLAIN=$'\e[0m'
else
	BOLD='' RED='' PLAIN=''
fi

# say WORDS...: prints one line of progress.
say() {
	printf '%s[tether]%s %s\n' "$BOLD" "$PLAIN" "$*"
}

# die ERROR [HINT...]: prints an error and hints, and exits.
die() {
	printf '%s[tether] error:%s %s\n' "$RED" "$PLAIN" "$1" >&2
	shift
	local line
	for line in "$@"; do
		printf '         %s\n' "$line" >&2
	done
	exit 1
}

# have COMMAND: tests whether the command exists.
have() {
	command -v "$1" >/dev/null 2>&1
}

# as_root COMMAND...: runs a command as root, through sudo if needed.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif have sudo; then
		sudo "$@"
	else
		die "root privileges are needed for: $*" "run this as root, or install sudo"
	fi
}

# long NAME LOG COUNT COMMAND...: runs a long command with its output in a log, and prints a line of
# progress periodically. COUNT is a command that prints the progress so far. If the command fails,
# the end of the log is printed.
long() {
	local name=$1 log=$2 count=$3 start=$SECONDS status=0 pid
	shift 3
	mkdir -p "$(dirname "$log")"
	say "$name (log: $log)"
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	# On interrupt, kill the command as well.
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
		die "$name failed (exit code $status)" "complete log: $log" \
			"finished steps are kept: run the same command again to continue"
	fi
	say "$name: done in $((SECONDS - start)) s"
}

# lines FILE: prints the number of lines, for `long`.
lines() {
	wc -l <"$1" 2>/dev/null || echo 0
}

# saved_command FILE: prints the command with which Kbuild has compiled a Rust object, taken from
# its .cmd file, without the output options.
saved_command() {
	local command
	command=$(sed -n 's/^savedcmd_[^ ]* := //p' "$1" 2>/dev/null | sed 's/ ; .*//')
	[ -n "$command" ] || die "$1 does not exist or is empty" "run: make modules"
	sed -E 's#--emit=(obj|dep-info|metadata)=[^ ]*##g; s#--out-dir [^ ]*##' <<<"$command"
}

# in_toolchain KDIR COMMAND...: runs a command with the compilers of a kernel tree. scripts/metadata
# puts the compilers of a distribution's kernel in a private root if the machine has other ones. The
# command then sees /usr and /etc of this root, and all other files of the machine.
in_toolchain() {
	local kdir=$1 root directory binds=()
	shift
	if [ ! -e "$kdir/toolchain" ]; then
		"$@"
		return
	fi
	have bwrap || die "bubblewrap is missing" "run: make metadata"
	root=$(readlink -f "$kdir/toolchain")
	for directory in /*; do
		case $directory in
		/bin | /sbin | /lib* | /usr | /etc | /proc | /dev | /sys) ;;
		*) [ ! -d "$directory" ] || [ -L "$directory" ] || binds+=(--bind "$directory" "$directory") ;;
		esac
	done
	# The project may be below /usr/local, but not its compilers.
	binds+=(--ro-bind "$root/usr" /usr --bind /usr/local /usr/local --ro-bind "$root/etc" /etc)
	for directory in bin sbin lib lib64; do
		binds+=(--symlink "usr/$directory" "/$directory")
	done
	bwrap --die-with-parent "${binds[@]}" --dev-bind /dev /dev --proc /proc --chdir "$PWD" \
		--unsetenv RUST_LIB_SRC --unsetenv LIBCLANG_PATH --setenv PATH /usr/sbin:/usr/bin "$@"
}

# kernel_make KDIR ARGUMENT...: runs make(1) for external modules in a kernel tree.
kernel_make() {
	local kdir=$1 arguments
	shift
	arguments=$("$TETHER/scripts/check-kdir" "$kdir") || exit
	# shellcheck disable=SC2086
	in_toolchain "$kdir" make -C "$kdir" $arguments -j"$(nproc)" --no-print-directory "$@"
}

# source_of KDIR: prints the source directory of a built kernel tree.
source_of() {
	local source=$1
	[ -e "$1/source" ] && source=$1/source
	(cd "$source" && pwd -P)
}

# test_programs SOURCE: builds the test programs in build/tests.
test_programs() {
	long "test programs" "$CACHE/logs/test-programs.log" 'lines "$log"' \
		make -C "$TETHER/tests" KSRC="$1" OUT="$TETHER/build/tests"
}

# Adds the installed tool chain to the environment. The machine's own tools are used if they are
# recent enough; scripts/setup checks this.
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

# bench_initramfs KDIR DIRECTORY MODULE...: creates DIRECTORY/initramfs.gz with the benchmark
# program as init, and the modules.
bench_initramfs() {
	local source work=$2
	source=$(source_of "$1")
	shift 2
	mkdir -p "$work/initramfs"
	gcc -O2 -static -pthread -Wall -Wno-unused-result -I"$TETHER/bench" -I"$source" -o "$work/initramfs/init" \
		"$TETHER/bench/bench.c" || die "the benchmark program could not be built"
	cp "$@" "$work/initramfs/"
	(cd "$work/initramfs" && find . | LC_ALL=C sort | cpio --quiet -o -H newc | gzip -n >"$work/initramfs.gz")
}

# unmatched FILE: the names of the changes in a list of NAME, TEST, SOURCE and CHANGE that match nothing.
unmatched() {
	local name file change
	while IFS=$'\t' read -r name _ file change; do
		case $name in '' | '#'*) continue ;; esac
		perl -0pe "$change" "$TETHER/$file" | cmp -s - "$TETHER/$file" && echo "$name"
	done <"$1"
	return 0
}
