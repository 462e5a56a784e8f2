# SPDX-License-Identifier: GPL-2.0
"""
What a guest's log, and data that arrived damaged, say about the kernel: one judge for scripts/run and all suites.

One thing is the emulator's and not the kernel's. QEMU's virtio-iommu (7.2 and 10.0 alike) looks an address up as an
interval that touches the next one (hw/virtio/virtio-iommu.c, interval_cmp()), so an access that begins at the last
byte of a mapping may be answered by the mapping after it: with a fault if that does not permit the access, else with
a byte of another page. Network cards do such accesses: a segment may begin anywhere. Through bounce buffers, which are
mapped by the chunk, it has not been seen.

So these are taken for the emulator's, and nothing else:
  - a fault that virtio-iommu reports at an address that ends in fff, if bounce buffers are off, or if the address is
    in none of the windows of bounce buffers there were;
  - behind virtio-iommu and with bounce buffers off: data in which single bytes differ, each for itself.
"""
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Besides splats, never harmless, at whatever level it was printed.
ALARM = re.compile(r"I/O error|EXT4-fs error|nvme.* timeout|NETDEV WATCHDOG")
FAULT = re.compile(r"virtio_iommu .*\bpage fault from EP \d+ at 0x([0-9a-f]+)")
# A kernel that has KCSAN says so, and when it is at work says how many places it watched (tests/guest/init).
KCSAN = re.compile(r"kcsan: (non-strict|strict) mode configured")
KCSAN_WORKS = re.compile(r"kcsan: setup_watchpoints: [1-9]")
LAST_BYTE = 0xfff
# More of them in one transfer have not been seen, and would be something else.
MOST_LONE_BYTES = 64


def patterns(name):
    """The regular expressions in a file of tests/guest."""
    with open(os.path.join(ROOT, "tests/guest", name), encoding="utf-8") as f:
        return [re.compile(t.rstrip("\n")) for t in f if t.strip() and not t.startswith("#")]


def bounced(lines):
    """Does the kernel that printed these bounce anything by itself? Its command line says so."""
    for line in lines:
        if "Kernel command line: " in line or "Command line: " in line:
            modes = re.findall(r"(?:^|\s)iommu\.bounce=(\w+)", line)
            return bool(modes) and modes[-1] != "off"
    return True                         # not known, so the stricter reading


def windows(stats):
    """The windows of bounce buffers, [(first, size)], by lines "GROUP NAME VALUE" of the counters in debugfs."""
    start, size = {}, {}
    for line in stats:
        words = line.split()
        if len(words) == 3 and words[1] == "window_start":
            start[words[0]] = int(words[2], 0)
        elif len(words) == 3 and words[1] == "window_size":
            size[words[0]] = int(words[2], 0)
    # One that is not there as far as we know could be anywhere.
    if any(size[group] and group not in start for group in size):
        return None
    return [(start[group], size[group]) for group in size if size[group]]


def last_byte_fault(text, bounces, where=None):
    """Is that line QEMU's virtio-iommu that took the last byte of a mapping for one of the next?"""
    found = FAULT.search(text)
    if not found:
        return False
    address = int(found[1], 16)
    if address & 0xfff != LAST_BYTE:
        return False
    if not bounces:
        return True
    return bool(where) and not any(first <= address < first + size for first, size in where)


def lone_bytes(offsets):
    """Are these, in ascending order, offsets of single bytes, each with good ones beside it?"""
    return 0 < len(offsets) <= MOST_LONE_BYTES and all(b - a > 1 for a, b in zip(offsets, offsets[1:]))


def differences(got, want):
    """Where two of the same length differ, ascending; of more than a few only the first ones."""
    found = []
    for at in range(0, len(want), 4096):
        if got[at:at + 4096] != want[at:at + 4096]:
            found += [at + i for i, (a, b) in enumerate(zip(got[at:at + 4096], want[at:at + 4096])) if a != b]
            if len(found) > MOST_LONE_BYTES:
                break
    return found


def read(path):
    try:
        with open(path, errors="replace", encoding="utf-8") as f:
            return f.read().splitlines()
    except FileNotFoundError:
        return []


def complaint(path):
    """What is wrong with the dmesg of a guest that was booted to measure; nothing if all is well."""
    lines = read(path)
    return " / ".join(judge(lines)[0][:3]) if lines else "there is no dmesg"


def judge(lines, stats=(), warnings=False, was_on=False):
    """
    (bad, the emulator's): the lines of a raw dmesg that must not be there, and those that are QEMU's own. With
    @warnings all that was printed as a warning or worse must be known to tests/guest/dmesg-allow. @was_on: bounce
    buffers were switched on later than on the command line.
    """
    splats = patterns("splats")
    allowed = patterns("dmesg-allow") if warnings else []
    bounces, where = was_on or bounced(lines), windows(stats)
    bad, emulator = [], []
    for line in lines:
        found = re.match(r"<(\d+)>\[\s*[\d.]+\] ?(.*)", line)
        level, text = (int(found[1]) & 7, found[2]) if found else (4, line)
        if last_byte_fault(text, bounces, where):
            emulator.append(text)
            continue
        wrong = any(r.search(line) for r in splats)
        if warnings:
            wrong = (wrong or level <= 4 or ALARM.search(text)) and not any(r.search(text) for r in allowed)
        if wrong and text.strip():
            bad.append(text)
    # One that sleeps finds nothing, which shows nothing.
    if any(KCSAN.search(line) for line in lines) and not any(KCSAN_WORKS.search(line) for line in lines):
        bad.append("KCSAN is in this kernel, and watched nothing")
    return bad, emulator
