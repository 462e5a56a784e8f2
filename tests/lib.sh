# SPDX-License-Identifier: GPL-2.0
# Shared by the tests here that boot a kernel. Sourced in the project's root.
# shellcheck shell=bash disable=SC2034

case "${1:-}" in -h|--help) sed -n '2,/^[^#]/{/SPDX-License/d;/^[^#]/!s/^# \{0,1\}//p}' "tests/${0##*/}"; exit ;; esac

# KERNEL is where a kernel's objects are; DEBUG=1 says that it is one that finds
# bugs: it is slow, and the first thing it finds shall end it.
KERNEL=${KERNEL:-build/x86}
image=$KERNEL/arch/x86/boot/bzImage
[ ! -f "$KERNEL/arch/arm64/boot/Image" ] || image=$KERNEL/arch/arm64/boot/Image
if [ ! -f "$image" ]; then
	echo "not ok - ${0##*/}: there is no $image: run 'make kernel' (or 'make debug', ...), or set KERNEL to a directory of kernel objects"
	exit 1
fi
if [ -n "${DEBUG:-}" ]; then
	debug=panic_on_warn=1 timeout=${TIMEOUT:-1800}
else
	debug='' timeout=${TIMEOUT:-300}
fi

BOUNCE_ALL=${BOUNCE_ALL:-$(tail -n 1 tests/bounce-all)}

# clean_dmesg FILE [ARGUMENT...]: is there a dmesg, and no splat and no fault of an IOMMU in
# it? What there is is shown, and what is the emulator's own (scripts/judge), too.
clean_dmesg() {
	local said rc
	said=$(scripts/judge "$@")
	rc=$?
	[ -z "$said" ] || sed 's/^#* */# /' <<<"$said" | head -5
	return $rc
}

# Of a suite, which sets $suite and $out: guests, and what they print as "@@WORD name=value ..."
# guest NAME ARGUMENT...: boot with the job $out/job-NAME; $log is then its output
guest() {
	log=$out/$1.log
	rm -f "$out/$1".{log,console,dmesg}
	scripts/boot --kernel "$image" --script "$out/job-$1" --log "$out/$1.console" --dmesg "$out/$1.dmesg" \
		--timeout "$timeout" "${@:2}" > "$log" 2>&1
}
# check WHAT COMMAND...: a result
check() { if "${@:2}"; then echo "ok - $suite: $1"; else echo "not ok - $suite: $1; see $log"; fi; }
field() { sed -nE "s/^@@$1 .*\b$2=([^ ]+).*/\1/p" "$log"; }
is() { [ "$(field "$1" "$2")" = "$3" ]; }
some() { [ "$(field "$1" "$2")" -gt 0 ] 2>/dev/null; }

# emulator IOMMU: is there one that has it? If not, $why says why.
emulator() { why=$(scripts/qemu "$1" 2>&1 > /dev/null); }

# verified_rows NAME DIR WHAT ARGUMENT...: scripts/run with the ARGUMENTs, its files in
# DIR. A result for each row of its table, and one for all else: WHAT.
verified_rows() {
	local name=$1 dir=$2 what=$3 rc
	mkdir -p "$dir"
	rm -f "$dir"/*
	scripts/run --kernel "$image" --out "$dir" "${@:4}" > "$dir/log" 2>&1
	rc=$?
	python3 - "$dir/results.json" "$name" <<-'PY'
	import json, sys
	try:
	    rows = json.load(open(sys.argv[1]))
	except OSError:
	    rows = []
	for r in rows:
	    print(f"{'ok' if r['verified'] or r['emulator'] else 'not ok'} - {sys.argv[2]} {r['device']} {r['job']}"
	          + (" # SKIP damaged by the emulator, see scripts/judgelib.py" if r['emulator'] else ""))
	PY
	if [ $rc = 0 ]; then
		echo "ok - $name: $what"
	else
		echo "not ok - $name: $what; see $dir/log"
		grep '^FAILED' "$dir/log" | head -20 | sed 's/^/# /'
		grep -q '^FAILED' "$dir/log" || tail -5 "$dir/log" | sed 's/^/# /'
	fi
	return $rc
}

# counted NAME DIR: what a counter came to in all groups, at the end of verified_rows
counted() { awk -v name="$1" '$2 == name { n += $3 } END { print n + 0 }' "$2"/*-bounce.stats; }
