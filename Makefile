# SPDX-License-Identifier: GPL-2.0
# The verbs of this project. Each is a script in scripts/ or tests/ that also
# runs alone; this file says what comes before what.

MAKEFLAGS += --no-print-directory
.NOTPARALLEL:
.DEFAULT_GOAL := help

# LINUX=<tree or tarball>, BRANCH=, BASE= and PART= reach the scripts as environment.
export LINUX BRANCH BASE PART

MACHINE := configs/machine.config
X86 := $(MACHINE) configs/x86_64.config

##@ To try it
# Said at the start of what ends in a kernel build, not after a download.
run test test-% check kernel debug% reverted kcsan devices deb bench calls native native-stack stack sweep: export BUILDS_KERNEL = 1

run: deps kernel ## boot the built kernel under each IOMMU mode, verify I/O, measure: build/run
	scripts/run
test: deps ## the whole product once, half an hour on two CPUs; the last line is the result
	scripts/test
test-all: deps ## every suite: more devices, IOMMUs, architectures, a kernel that finds bugs
	scripts/test --all
test-%: deps ## one suite of tests/suites.list
	scripts/test $*
bench: deps-bench kernel ## all that is measured, one after the other, an hour and a half: build/bench
	@status=0; for part in bench native native-stack stack sweep; do scripts/$$part || status=1; done; \
		printf '\nAll bars:\n'; cd build/bench; grep -hE '^(met|missed|MISSED) ' \
			table.txt native.txt native-stack.txt stack.txt sweep.txt; exit $$status
calls: deps kernel ## of that: what a map and an unmap cost in each mode and behind each IOMMU, memory held, a crowd
	scripts/bench
native: deps fetch ## of that: calls at the speed of your own CPU, on an IOMMU whose cost is a parameter
	scripts/native
native-stack: deps fetch ## of that: a disk at the speed of your own CPU, from the block device's file down, in each mode
	scripts/native-stack
stack: deps-bench kernel ## of that: disks and networks behind each IOMMU, in each mode
	scripts/stack
sweep: deps-bench kernel ## of that: a disk and networks behind virtio-iommu, as its requests get dearer
	scripts/sweep
check: deps ## the quick suites, after a change
	scripts/test --quick

##@ To work on it
deps: ## install, or name, the packages this needs
	scripts/deps
deps-deb:
	scripts/deps deb
deps-bench: ## also what only stack and sweep need
	scripts/deps bench
qemu10: ## QEMU 10 from the backports of Debian 12, unpacked beside the installed one: build/qemu10
	scripts/fetch-qemu
fetch: ## the pinned kernel, unpacked: build/pristine (or from LINUX=<tree or tarball>)
	scripts/fetch
tree: need fetch ## that kernel with the series on it: build/linux
	scripts/tree
kernel: tree ## build/bzImage
	scripts/kernel x86 build/linux $(X86)
debug: tree ## the same with everything that finds bugs: build/debug
	scripts/kernel debug build/linux $(MACHINE) configs/debug.config
debug-more: debug ## that with more devices: build/debug-more
	scripts/kernel -s debug debug-more build/linux $(X86) configs/debug.config configs/debug-more.config
devices: kernel ## the kernel of "make run" with more devices: build/devices
	scripts/kernel -s x86 devices build/linux $(X86) configs/devices.config
CHECKED := $(X86) configs/devices.config configs/checked.config
checked: devices ## that with the ownership checker, btrfs and xfs: build/checked
	scripts/kernel -s devices checked build/linux $(CHECKED)
REPAIRS := nvme-pci-Start-a-request-before-its-metadata xhci-Unmap-the-URB-before mmc-sdhci-Unmap-the-list-before
reverted: checked ## that without the repairs of NVMe, xHCI and SDHCI, for tests/cases: build/reverted
	scripts/tree -o build/linux-reverted $(REPAIRS:%=-r series/0-fixes/*-%*.patch)
	scripts/kernel -s checked reverted build/linux-reverted $(CHECKED)
# What the whole kernel races about would bury what is ours.
KCSAN := $(basename $(notdir $(wildcard drivers/iommu/io-b*.c drivers/iommu/tests/*.c))) dma-iommu
kcsan: tree ## the same with KCSAN watching dma-iommu.c and the files of the series: build/kcsan
	scripts/kernel kcsan build/linux $(X86) configs/kcsan.config -- \
		KCSAN_SANITIZE=n $(KCSAN:%=KCSAN_SANITIZE_%.o=y) bzImage modules
deb: deps-deb tree ## the patched kernel as Debian packages: [CONFIG=<file>], default: what this machine runs, its loaded modules only
	scripts/deb $(CONFIG)

##@ To edit and mail it (docs/hacking.md)
branch: need ## the series on branches of your clone, one for each part: [LINUX=<git tree>] [BRANCH=] [BASE=]
	scripts/branch
refresh: need ## the edited branches back into series/ and the copies: [LINUX=<git tree>] [BRANCH=] [BASE=]
	scripts/refresh
series: need ## one part of these branches as a mailbox: PART=1-mandatory [LINUX=<git tree>]
	@mkdir -p build; scripts/series > build/.mbox.new || { rm build/.mbox.new; exit 1; }
	@mv build/.mbox.new build/$(PART).mbox && echo build/$(PART).mbox

##@ Other
clean: ## drop what was built, keep what was fetched or somebody's work
	[ ! -d build ] || find build -mindepth 1 -maxdepth 1 ! -name pristine ! -name repo \
		! -name tree-edits -exec rm -rf {} +
distclean: ## drop all of build/
	rm -rf build
help: ## this list
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9%-]+:.*## / { sub(/test-%/, "test-SUITE", $$1); printf "  make %-13s %s\n", $$1, $$2 }' Makefile

need:
	@for tool in git python3; do command -v $$tool >/dev/null || \
		{ echo "$$tool is missing: 'make deps' installs or names what is needed" >&2; exit 1; }; done

.PHONY: need run test test-all check bench calls native native-stack stack sweep deps deps-bench deps-deb qemu10 fetch tree kernel debug debug-more checked reverted kcsan devices deb series branch refresh clean distclean help
