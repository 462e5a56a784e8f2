# SPDX-License-Identifier: GPL-2.0
# Shared by the shell scripts here. Sourced, never run.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
BUILD=$ROOT/build
ME=${0##*/}

die() { printf '%s: error: %s\n' "$ME" "$*" >&2; exit 1; }
note() { printf '%s: %s\n' "$ME" "$*"; }

# The comment block at the top of a script, less the licence, is its manual: "-h"
# prints it.
usage() { sed -n '2,/^[^#]/{/SPDX-License/d;/^[^#]/!s/^# \{0,1\}//p}' "$0"; exit "${1:-0}"; }

# BUILDS_KERNEL is set where a kernel is going to be built, at the latest by what builds it.
case ${BUILDS_KERNEL:+$ROOT} in
*[[:space:]:]*) die "kbuild cannot work below a path with a blank or a colon in it: $ROOT" ;;
esac

# What every kernel make gets, of the configuration as of the build: a compiler
# that changes between two of them would make the tools of kbuild new each time.
# The rest is what would make two builds of the same source differ.
export KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 2026'
export KBUILD_BUILD_USER=builder KBUILD_BUILD_HOST=iommu-bounce-buffers KBUILD_BUILD_VERSION=1
export CCACHE_BASEDIR=$ROOT CCACHE_NOHASHDIR=1
# What a file includes, the compiler tells: a first build takes no longer than without
# ccache, where preprocessing everything once more made it a fifth longer.
export CCACHE_DEPEND=1
KBUILD_ARGS=(${ARCH:+"ARCH=$ARCH"})
if command -v ccache >/dev/null; then
	[ -n "${CCACHE_PROGRAM:-}" ] || export CCACHE_PROGRAM="$(command -v ccache)" PATH="$ROOT/scripts/bin:$PATH"
	KBUILD_ARGS+=("CC=ccache ${CC:-gcc}" "HOSTCC=ccache ${HOSTCC:-gcc}")
fi

# What our own make was told is not meant for the kernel's.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL

# On a terminal a progress line is rewritten in place; in a log one line every
# 20 seconds is enough to show that something moves.
if [ -t 1 ]; then
	TICK=1
	progress() { printf '\r\033[K%s: %s' "$ME" "$*"; }
	progress_end() { printf '\r\033[K'; }
else
	TICK=20
	progress() { note "$*"; }
	progress_end() { :; }
fi

# watch_job PID COMMAND: call COMMAND every TICK seconds while PID runs, then
# return what PID returned. Polls more often than it prints, so that a short
# job does not wait for a long tick.
watch_job() {
	local pid=$1 left=$((TICK * 5)) status=0
	shift
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		left=$((left - 1))
		if [ $left -le 0 ]; then
			"$@"
			left=$((TICK * 5))
		fi
	done
	wait "$pid" || status=$?
	progress_end
	return $status
}

# One at a time: two people (or a suite and a person) may share a checkout.
lock() {
	mkdir -p "$BUILD" 2>/dev/null && { : >>"$BUILD/.lock-$1"; } 2>/dev/null ||
		die "cannot write to $BUILD"
	exec {LOCK_FD}>"$BUILD/.lock-$1"
	flock -n "$LOCK_FD" && return
	note "waiting for another $1 to finish"
	flock "$LOCK_FD"
}

# apt with nothing of the machine's state but its network and key settings; what it
# needs lies in $WORK/apt.
private_apt() {
	local tool=$1
	shift
	"$tool" -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$WORK/apt/parts" \
		-o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
		-o Dir::State="$WORK/apt/state" -o Dir::State::status=/var/lib/dpkg/status \
		-o Dir::Cache="$WORK/apt/cache" -o APT::Sandbox::User="$(id -un)" \
		-o Acquire::Languages=none -o Acquire::Retries=3 -qq "$@"
}

# kernel_version TREE: "7.3.4" as the tree's own Makefile says it, or nothing.
kernel_version() {
	[ -f "$1/Makefile" ] || return 0
	makefile_version <"$1/Makefile"
}
makefile_version() {
	awk -F' *= *' '$1 == "VERSION" { v = $2 } $1 == "PATCHLEVEL" { p = $2 }
		$1 == "SUBLEVEL" { s = $2 } END { if (v != "") print v "." p "." s }'
}

# shellcheck source=/dev/null
. "$ROOT/base"
