# SPDX-License-Identifier: GPL-2.0
#
# Every command that a person types. Each sets up first what it lacks.
#
#   KDIR=DIRECTORY   a kernel tree that is built: nothing is fetched, only modules are built
#   KSRC=DIRECTORY   a kernel source: that is built instead of Debian's

export KDIR KSRC

SHELL := /bin/bash
.SHELLFLAGS := -eo pipefail -c

.DEFAULT_GOAL := help
.PHONY: help setup demo test model attack test-debug test-flavour test-configurations stress torture bench bench-json bench-native bench-allocations bench-watched bench-plot modules tools install doc clippy format in-tree clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 20
	@echo
	@echo "  KDIR=DIRECTORY builds against your own kernel tree, KSRC=DIRECTORY builds your kernel source."

demo: ## watch real programs' address spaces in a VM
	@scripts/demo

test: ## run every test; the last line says how many have passed
	@scripts/test dev

attack: ## run modules in safe Rust that try to break the promise; FLAVOUR=debug on that kernel
	@scripts/attack $(if $(FLAVOUR),-k $(FLAVOUR)) $(ATTACKS)

model: ## explore every interleaving of the lock-free parts
	@scripts/model

test-debug: ## the same on a kernel with KASAN, lockdep, kmemleak and more (long)
	@scripts/test debug

test-flavour: ## the same on another kernel: FLAVOUR=cfi, rt or kcsan (long)
	@scripts/test $(or $(FLAVOUR),$(error which one? make test-flavour FLAVOUR=rt))

test-configurations: ## which configurations of a kernel the modules compile for, and which are refused (long)
	@scripts/check-configurations

stress: ## the long forms of some tests (minutes); FLAVOUR=debug on that kernel
	@scripts/stress $(FLAVOUR)

torture: ## modules come and go while all happens at once; SECONDS=, SEED=, FLAVOUR=debug
	@scripts/torture $(or $(FLAVOUR),dev) $(or $(SECONDS),600) $(SEED)

bench: ## count instructions: C, raw bindings and Tether at the same work; FLAVOUR= on that kernel
	@scripts/bench $(FLAVOUR)

bench-json: ## the same as one JSON object (make -s bench-json)
	@scripts/bench --json $(FLAVOUR)

bench-native: ## measure time, and two CPUs at once, on user-mode Linux
	@scripts/bench-native

bench-allocations: ## count what is allocated, and how large it is
	@scripts/bench-allocations

bench-watched: ## what being watched costs a program: by mmwatch, userfaultfd, strace
	@scripts/bench-watched

bench-plot: ## draw what Tether costs against C, for the documentation
	@scripts/bench-plot

setup: ## install and fetch what is needed, and no more than is missing
	@scripts/setup $(if $(KDIR),modules)

modules: ## build the modules; with KDIR= against your own kernel tree
	@out=$$(scripts/build modules | tail -n 1); echo "the modules are in $$out"

tools: ## build the programs of user space
	@scripts/setup modules
	@scripts/tools
	@echo "mmwatch is build/tools/release/mmwatch"

install: ## install the modules of KDIR= for its kernel (as root)
	@$(if $(KDIR),,echo "for which kernel? make KDIR=/path/to/build install" >&2; exit 1)
	@scripts/build modules modules_install

doc: ## build the documentation of the API
	@out=$$(scripts/build TETHER_DOC=y modules | tail -n 1); echo "begin at $$out/doc/tether/index.html"

clippy: ## clippy, with the kernel's configuration
	@scripts/build >/dev/null
	@scripts/check-clippy

format: ## format all Rust code as the kernel's is
	@scripts/check-format --write

in-tree: ## prove that the abstractions compile in a kernel tree
	@scripts/build >/dev/null
	@scripts/in-tree

clean: ## remove what was built here; the cache stays
	@rm -rf build
