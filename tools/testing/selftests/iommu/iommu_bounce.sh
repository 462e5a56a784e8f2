#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Are the IOMMU bounce buffers of this machine in order? It is meant for one that
# runs: it reads counters, 2 MiB of a disk of each group, and the kernel's log, and
# changes nothing. The figures are compared as far as they hold whatever else the
# machine does meanwhile. Takes ten seconds, or thirty if no group is idle.
#
# SYSFS is where sysfs is, for those who test this test.

DIR=$(dirname "$0")
. "$DIR"/../kselftest/ktap_helpers.sh

SYSFS=${SYSFS:-/sys}
STATS=$SYSFS/kernel/debug/iommu_bounce
READS=256		# of 4 KiB, from each disk
SLOT_MAX=1048576	# the largest mapping that may be bounced
MEMORY_MIN=65536	# the least that iommu.bounce_memory may be
IDLE=10			# seconds after which nothing is held

COUNTERS="hits_single hits_sg hits_iova
	miss_empty miss_full miss_mask miss_size
	direct_limit direct_attrs direct_device direct_unpromised direct_memory
	mandatory_hits mandatory_misses bytes_in bytes_out
	slots_used slots_used_hiwater memory memory_max
	chunks chunks_added chunks_freed window_size window_start
	expensive_map limit_to_device limit_from_device"
# Of all groups
TOTALS="memory memory_max memory_refused"
# What is never less than it was
GROWING="hits_single hits_sg hits_iova
	miss_empty miss_full miss_mask miss_size
	direct_limit direct_attrs direct_device direct_unpromised direct_memory
	mandatory_hits mandatory_misses bytes_in bytes_out
	slots_used_hiwater chunks_added chunks_freed
	tune_rounds"

# Parameters that make no sense, splats in the code, what drivers do wrong, and what
# the IOMMU refuses: VT-d, AMD-Vi, virtio-iommu, Arm SMMU
COMPLAINTS='iommu: bounce: .*expected'
COMPLAINTS="$COMPLAINTS|(WARNING|BUG|RIP|pc ?):.*[ :](io_bounce|io_buffer)_"
COMPLAINTS="$COMPLAINTS|WARNING: .*drivers/iommu/io-b(ounce|uffer)"
COMPLAINTS="$COMPLAINTS|unmap or sync (of unmapped DMA address|exceeds DMA mapping)"
COMPLAINTS="$COMPLAINTS|DMA mapping of [0-9]+ bytes unmapped with"
COMPLAINTS="$COMPLAINTS|DMAR: (\\[|DRHD: handling fault)"
COMPLAINTS="$COMPLAINTS|IO_PAGE_FAULT|AMD-Vi: Event logged"
COMPLAINTS="$COMPLAINTS|virtio_iommu .*(page|domain|unknown) fault"
COMPLAINTS="$COMPLAINTS|arm-smmu(-v3)? .*(: event|context fault)"

skip_all()
{
	ktap_skip_all "$@"
	exit "$KSFT_SKIP"
}

# kernel_lacks OPTION: is it known that the kernel is built without?
kernel_lacks()
{
	for config in /proc/config.gz "/boot/config-$(uname -r)" \
		      "/lib/modules/$(uname -r)/config"; do
		[ -r "$config" ] || continue
		case $config in
		*.gz) zcat "$config" ;;
		*) cat "$config" ;;
		esac 2> /dev/null | grep -q "^$1=y" || return 0
		return 1
	done
	return 1
}

preconditions()
{
	ls "$SYSFS"/kernel/iommu_groups/* > /dev/null 2>&1 ||
		skip_all "no IOMMU is in use"
	[ "$(id -u)" = 0 ] || skip_all "must be run as root"
	[ -d "$SYSFS"/kernel/debug ] || skip_all "the kernel has no debugfs"
	ls "$SYSFS"/kernel/debug/* > /dev/null 2>&1 ||
		skip_all "debugfs is not mounted"
	if [ ! -d "$STATS" ]; then
		kernel_lacks CONFIG_IOMMU_BOUNCE_BUFFERS &&
			skip_all "the kernel is built without CONFIG_IOMMU_BOUNCE_BUFFERS"
		skip_all "bounce buffers are off: boot with iommu.bounce=on"
	fi
	groups=$(ls "$STATS" | grep -E '^[0-9]+$')
	[ -n "$groups" ] || skip_all "no group has bounce buffers"
}

# sample NAME: note what there is. A group that is gone, or was never noted by
# that name, has no file.
sample()
{
	mkdir -p "$work/$1"
	for noted in $groups; do
		cat "$STATS/$noted/stats" > "$work/$1/$noted" 2> /dev/null ||
			rm -f "$work/$1/$noted"
	done
}

# value SAMPLE GROUP NAME... : the sum of these counters
value()
{
	from=$work/$1/$2
	shift 2
	awk -v names=" $* " 'index(names, " " $1 " ") { n += $2 }
			     END { printf "%.0f\n", n }' "$from"
}

hits() { value "$1" "$2" hits_single hits_sg hits_iova; }
misses() { value "$1" "$2" miss_empty miss_full miss_mask miss_size; }
skips() { value "$1" "$2" direct_limit direct_attrs direct_device direct_unpromised direct_memory; }
tried() { echo $(($(hits "$1" "$2") + $(misses "$1" "$2"))); }
mapped() { echo $(($(tried "$1" "$2") + $(skips "$1" "$2"))); }
copied() { value "$1" "$2" bytes_in bytes_out; }

# each CHECK WHAT: does CHECK hold for each group that is in both samples?
each()
{
	bad=0
	for group in $groups; do
		[ -f "$work/before/$group" ] && [ -f "$work/after/$group" ] ||
			continue
		"$1" "$group" || bad=1
	done
	if [ $bad = 0 ]; then
		ktap_test_pass "$2"
	else
		ktap_test_fail "$2"
	fi
}

# wrong GROUP WORDS...: say what is wrong with it, and fail
wrong()
{
	ktap_print_msg "group $*"
	return 1
}

complete()
{
	status=0
	for name in $COUNTERS; do
		grep -qE "^$name (0x[0-9a-f]+|[0-9]+)\$" "$work/before/$1" ||
			wrong "$1: $name is missing or no number" || status=1
	done
	return $status
}

# at_most GROUP LESS MORE WHAT
at_most()
{
	[ "$2" -le "$3" ] || wrong "$1: $4: $2 > $3"
}

test_totals()
{
	what="the memory of all groups is accounted"
	bad=0
	for name in $TOTALS; do
		grep -qsE "^$name [0-9]+\$" "$STATS/memory" && continue
		ktap_print_msg "memory: $name is missing or no number"
		bad=1
	done
	if [ $bad = 0 ]; then
		ktap_test_pass "$what"
	else
		ktap_test_fail "$what"
	fi
}

memory_in_bounds()
{
	max=$(value after "$1" memory_max)
	memory=$(value before "$1" memory)
	at_most "$1" "$MEMORY_MIN" "$max" "least possible and memory_max" &&
		at_most "$1" "$memory" "$max" "memory and memory_max" &&
		at_most "$1" "$memory" "$(value after "$1" window_size)" \
			"memory and window_size"
}

limits_in_bounds()
{
	for name in limit_to_device limit_from_device; do
		at_most "$1" "$(value after "$1" $name)" $SLOT_MAX \
			"$name and the largest slot" || return
	done
}

# A file is not read at one instant: parts of an earlier sample are at most the
# whole of a later one, whatever was counted meanwhile.
parts_fit()
{
	at_most "$1" "$(value before "$1" mandatory_hits)" "$(hits after "$1")" \
		"mandatory_hits and hits" &&
		at_most "$1" "$(value before "$1" chunks_freed)" \
			"$(value after "$1" chunks_added)" \
			"chunks_freed and chunks_added"
}

never_less()
{
	status=0
	for name in $GROWING; do
		at_most "$1" "$(value before "$1" "$name")" \
			"$(value after "$1" "$name")" \
			"$name before and after" || status=1
	done
	return $status
}

hits_copy()
{
	[ "$(hits before "$1")" = 0 ] || [ "$(copied after "$1")" -gt 0 ] ||
		wrong "$1: $(hits before "$1") hits and not a byte copied"
}

# Prints the group of a disk, if its DMA goes through an IOMMU.
group_of()
{
	at=$(readlink -f "$SYSFS/block/$1")
	while [ "$at" != / ] && [ -n "$at" ]; do
		case ${at##*/} in
		virtio*)
			# Bit 33: VIRTIO_F_ACCESS_PLATFORM
			[ "$(cut -c34 "$at/features" 2> /dev/null)" = 1 ] ||
				return
			;;
		esac
		if [ -e "$at/iommu_group" ]; then
			basename "$(readlink -f "$at/iommu_group")"
			return
		fi
		at=$(dirname "$at")
	done
}

# Prints one disk for each group: "disk group"
disks()
{
	seen=" "
	for path in "$SYSFS"/block/*; do
		disk=${path##*/}
		[ -r "/dev/$disk" ] &&
			[ "$(cat "$path/removable")" = 0 ] &&
			[ "$(cat "$path/size")" -ge $((READS * 8)) ] || continue
		group=$(group_of "$disk")
		[ -n "$group" ] && [ -f "$STATS/$group/stats" ] || continue
		case $seen in *" $group "*) continue ;; esac
		seen="$seen$group "
		echo "$disk $group"
	done 2> /dev/null
}

# Reading a disk must be counted, and what is bounced copied.
test_disks()
{
	count="reading a disk is counted"
	copy="what a disk reads is copied if it is bounced"
	found=0 uncounted=0 bounced=0 uncopied=0
	sample before
	while read -r disk group; do
		[ -n "$disk" ] && [ -f "$work/before/$group" ] || continue
		# Without a mapping that may be bounced there is nothing to
		# count with yet.
		if [ "$(value before "$group" limit_from_device)" -lt 4096 ]; then
			ktap_print_msg "$disk: group $group bounces nothing"
			continue
		fi
		dd if="/dev/$disk" of=/dev/null bs=4096 count=$READS \
			iflag=direct > "$work/dd" 2>&1 || {
			ktap_print_msg "$disk: $(tail -n 1 "$work/dd")"
			continue
		}
		found=1
		sample after
		more=$(($(mapped after "$group") - $(mapped before "$group")))
		hit=$(($(hits after "$group") - $(hits before "$group")))
		bytes=$(($(copied after "$group") - $(copied before "$group")))
		ktap_print_msg "$disk, group $group: $READS reads," \
			"$more mappings, $hit bounced, $bytes bytes copied"
		[ $more -gt 0 ] || uncounted=1
		if [ $hit -gt 0 ]; then
			bounced=1
			[ $bytes -gt 0 ] || uncopied=1
		fi
	done <<-EOF
		$(disks)
	EOF
	if [ $found = 0 ]; then
		ktap_test_skip "$count: no disk that can be read and is bounced"
	elif [ $uncounted = 0 ]; then
		ktap_test_pass "$count"
	else
		ktap_test_fail "$count"
	fi
	if [ $bounced = 0 ]; then
		ktap_test_skip "$copy: none was"
	elif [ $uncopied = 0 ]; then
		ktap_test_pass "$copy"
	else
		ktap_test_fail "$copy"
	fi
}

# Without swiotlb, mandatory bounces have a reserve.
may_keep()
{
	slabs=$(cat "$SYSFS/kernel/debug/swiotlb/io_tlb_nslabs" 2> /dev/null)
	[ "${slabs:-0}" = 0 ]
}

# A group that does nothing and has no slot in use gives all back.
test_idle()
{
	what="nothing is held after $IDLE idle seconds"
	idle=0 held=0 tries=0
	while [ $idle = 0 ] && [ $tries -lt 3 ]; do
		tries=$((tries + 1))
		sample before
		sleep $IDLE
		sample after
		for group in $groups; do
			[ -f "$work/before/$group" ] &&
				[ -f "$work/after/$group" ] &&
				[ "$(tried after "$group")" -gt 0 ] &&
				[ "$(mapped after "$group")" = "$(mapped before "$group")" ] &&
				[ "$(value before "$group" slots_used)" = 0 ] &&
				[ "$(value after "$group" slots_used)" = 0 ] ||
				continue
			idle=1
			memory=$(value after "$group" memory)
			[ "$memory" = 0 ] && continue
			ktap_print_msg "group $group is idle and holds $memory bytes"
			held=1
		done
	done
	if [ $idle = 0 ]; then
		ktap_test_skip "$what: no group was used and is idle now"
	elif [ $held = 0 ]; then
		ktap_test_pass "$what"
	elif may_keep; then
		ktap_test_skip "$what: without swiotlb a group may keep some"
	else
		ktap_test_fail "$what"
	fi
}

test_log()
{
	what="the kernel's log has no complaint"
	if ! dmesg > "$work/dmesg" 2> /dev/null || [ ! -s "$work/dmesg" ]; then
		ktap_test_skip "$what: it cannot be read"
		return
	fi
	if grep -E "$COMPLAINTS" "$work/dmesg" > "$work/complaints"; then
		while read -r line; do
			ktap_print_msg "$line"
		done < "$work/complaints"
		ktap_test_fail "$what"
	else
		ktap_test_pass "$what"
	fi
}

ktap_print_header
preconditions
work=$(mktemp -d) || skip_all "no place for temporary files"
trap 'rm -rf "$work"' EXIT

# Any disk does, to have something to look at.
disks > "$work/disks"
while read -r disk group; do
	dd if="/dev/$disk" of=/dev/null bs=4096 count=$READS iflag=direct
done < "$work/disks" > /dev/null 2>&1
sample before
sleep 1
sample after
readable=0 traffic=0
for group in $groups; do
	[ -f "$work/after/$group" ] || continue
	readable=1
	[ "$(mapped after "$group")" = 0 ] || traffic=1
done
[ $readable = 1 ] || skip_all "no counters in $STATS can be read"
[ $traffic = 1 ] || [ -s "$work/disks" ] ||
	skip_all "no group that has bounce buffers does any DMA"

ktap_set_plan 11
each complete "each group has all counters"
test_totals
each memory_in_bounds "memory is within its bounds"
each limits_in_bounds "limits are within their bounds"
each parts_fit "parts are no more than the whole"
each never_less "counters only grow"
each hits_copy "where mappings were bounced, bytes were copied"
test_disks
test_idle
test_log
ktap_finished
