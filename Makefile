# SPDX-License-Identifier: GPL-2.0
# The verbs of this project. Each is a script in scripts/ or tests/ that also
# runs alone; this file says what comes before what.

MAKEFLAGS += --no-print-directory
.NOTPARALLEL:
.DEFAULT_GOAL := help

# LINUX=<tree or tarball>, BRANCH= and BASE= reach the scripts as environment.
export LINUX BRANCH BASE

X86 := configs/x86_64.config

##@ To try it
run: deps kernel ## boot the built kernel under each IOMMU mode, verify I/O, measure: build/run
	scripts/run
test: deps ## everything that proves it; the last line is the result
	scripts/test
test-%: deps ## one suite of tests/suites.list
	scripts/test $*
check: deps ## the quick suites, after a change
	scripts/test --quick

##@ To work on it
deps: ## install, or name, the packages this needs
	scripts/deps
fetch: ## the pinned kernel, unpacked: build/pristine (or from LINUX=<tree or tarball>)
	scripts/fetch
tree: fetch ## that kernel with the series on it: build/linux
	scripts/tree
kernel: tree ## build/bzImage
	scripts/kernel x86 build/linux $(X86)
debug: tree ## the same with everything that finds bugs: build/debug
	scripts/kernel debug build/linux $(X86) configs/debug.config

##@ To mail it
series: fetch ## the patches: build/series
	scripts/series
branch: ## the series on a new branch of your clone: LINUX=<git tree> [BRANCH=] [BASE=]
	scripts/branch
refresh: ## an edited branch back into files and series/: [LINUX=<git tree>] [BRANCH=] [BASE=]
	scripts/refresh

##@ Other
clean: ## drop what was built, keep what was fetched
	[ ! -d build ] || find build -mindepth 1 -maxdepth 1 ! -name pristine -exec rm -rf {} +
distclean: ## drop all of build/
	rm -rf build
help: ## this list
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z%-]+:.*## / { sub(/test-%/, "test-SUITE", $$1); printf "  make %-11s %s\n", $$1, $$2 }' Makefile

.PHONY: run test check deps fetch tree kernel debug series branch refresh clean distclean help
