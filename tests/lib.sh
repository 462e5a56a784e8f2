# SPDX-License-Identifier: GPL-2.0
# Shared by the tests here that boot a kernel. Sourced in the project's root.
# shellcheck shell=bash disable=SC2034

# KERNEL is where a kernel's objects are; DEBUG=1 says that it is one that finds
# bugs: it is slow, and the first thing it finds shall end it.
KERNEL=${KERNEL:-build/x86}
image=$KERNEL/arch/x86/boot/bzImage
if [ ! -f "$image" ]; then
	echo "not ok - ${0##*/}: there is no $image (KERNEL names a directory of kernel objects)"
	exit 1
fi
if [ -n "${DEBUG:-}" ]; then
	debug=panic_on_warn=1 timeout=${TIMEOUT:-900}
else
	debug='' timeout=${TIMEOUT:-300}
fi

# clean_dmesg FILE: is there a dmesg, and no splat in it?
clean_dmesg() {
	[ -s "$1" ] && [ -s tests/guest/splats ] || return
	grep -v '^#' tests/guest/splats | grep -qE -f - "$1"
	[ $? -eq 1 ]
}
