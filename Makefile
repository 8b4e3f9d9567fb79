# SPDX-License-Identifier: GPL-2.0
#
# Commands for users. Each command first installs the tools that it needs.
#
#   KDIR=DIRECTORY   a built kernel tree, or the result of "make metadata": nothing is downloaded,
#                    only modules are built
#   KSRC=DIRECTORY   a kernel source, which is built instead of Debian's

export KDIR KSRC DESTDIR PREFIX SIGN_KEY SIGN_CERTIFICATE

SHELL := /bin/bash
.SHELLFLAGS := -eo pipefail -c

.DEFAULT_GOAL := help
.PHONY: help setup demo metadata test test-stock test-mmwatch model attack test-debug test-flavour test-configurations stress torture bench bench-json bench-native bench-allocations bench-watched bench-plot modules tools install doc clippy format in-tree series clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 20
	@echo
	@echo "  KDIR=DIRECTORY builds against your own kernel tree, KSRC=DIRECTORY builds your kernel source."

demo: ## watch real programs' address spaces in a VM
	@scripts/demo

metadata: ## rebuild the Rust metadata of a Debian kernel; VERSION= (as of uname -r) selects another one than the running kernel
	@kdir=$$(scripts/metadata $(VERSION) | tail -n 1); echo "metadata: use it with make KDIR=$$kdir"

test: ## run all tests; the last line is the number of tests that have passed
	@scripts/test dev

test-stock: ## run the tests on Debian's unmodified kernel; VERSION= selects the kernel
	@scripts/test stock $(VERSION)

attack: ## run modules in safe Rust that try to break Tether's guarantees; FLAVOUR=debug selects that kernel
	@scripts/attack $(if $(FLAVOUR),-k $(FLAVOUR)) $(ATTACKS)

model: ## explore every interleaving of the lock-free parts
	@scripts/model

test-debug: ## run the tests on a kernel with KASAN, lockdep, kmemleak and more (long)
	@scripts/test debug

test-mmwatch: ## run all tests of the mmwatch program (long); FLAVOUR=debug selects that kernel
	@scripts/test-mmwatch $(FLAVOUR)

test-flavour: ## run the tests on another kernel: FLAVOUR=cfi, rt or kcsan (long)
	@scripts/test $(or $(FLAVOUR),$(error FLAVOUR is missing: make test-flavour FLAVOUR=rt))

test-configurations: ## build the modules for other kernel configurations, some of which must be refused (long)
	@scripts/check-configurations

stress: ## run long versions of some tests (minutes); FLAVOUR=debug selects that kernel
	@scripts/stress $(FLAVOUR)

torture: ## load and unload modules while all facilities are in use; SECONDS=, SEED=, FLAVOUR=debug
	@scripts/torture $(or $(FLAVOUR),dev) $(or $(SECONDS),600) $(SEED)

bench: ## count instructions of C, raw bindings and Tether; FLAVOUR= selects the kernel
	@scripts/bench $(FLAVOUR)

bench-json: ## run bench and print one JSON object (make -s bench-json)
	@scripts/bench --json $(FLAVOUR)

bench-native: ## measure time, on one CPU and on two, on user-mode Linux
	@scripts/bench-native

bench-allocations: ## count allocations and their sizes
	@scripts/bench-allocations

bench-watched: ## measure the cost of watching a program with mmwatch, userfaultfd and strace
	@scripts/bench-watched

bench-plot: ## draw the cost of Tether relative to C, for the documentation
	@scripts/bench-plot

setup: ## install and download missing tools and sources
	@scripts/setup $(if $(KDIR),modules)

modules: ## build the modules; with KDIR= against your own kernel tree
	@out=$$(scripts/build modules | tail -n 1); echo "modules: $$out"

tools: ## build the user-space programs
	@scripts/setup tools
	@scripts/tools
	@echo "mmwatch: build/tools/release/mmwatch"

install: ## install tether.ko, mmwatch.ko and the program mmwatch (as root) for the running kernel, or for that of KDIR=
	@scripts/install

doc: ## build the API documentation
	@out=$$(scripts/build TETHER_DOC=y modules | tail -n 1); echo "documentation: $$out/doc/tether/index.html"

clippy: ## run clippy with the kernel's configuration
	@scripts/build >/dev/null
	@scripts/check-clippy

format: ## format all Rust code with the kernel's configuration
	@scripts/check-format --write

in-tree: ## build a kernel with Tether in its tree, and run its KUnit suites and examples (long)
	@scripts/build >/dev/null
	@scripts/in-tree

series: ## write Tether as patches for the kernel to build/series, build each of them, and test (long)
	@scripts/series

clean: ## remove the build directory, but not the cache
	@rm -rf build
