# SPDX-License-Identifier: GPL-2.0
"""Which emulator boots a guest, and what it must be told: for scripts/boot and scripts/qemu."""
import os
import re
import shutil
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Where scripts/fetch-qemu unpacks one
UNPACKED = os.path.join(ROOT, "build/qemu10/usr/bin")
# Devices that came after the QEMU 7.2 of Debian 12
NEW_DEVICES = {"igb"}
# With QEMU 10's AMD-Vi the queues of an NVMe disk never start: it hangs in probe, with bounce buffers or without.
AMD_WORKS_BELOW = 10


class NoEmulator(Exception):
    """There is none that can do what is asked; the text says why."""


def version(program):
    """(major, minor), or (0, 0) if it does not say."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        said = ""
    found = re.match(r"QEMU emulator version (\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def found(name):
    """The emulators here called @name: that of the machine first, then the one in build/qemu10."""
    paths = [shutil.which(name), os.path.join(UNPACKED, name)]
    return [p for p in paths if p and os.access(p, os.X_OK)]


def choose(name, iommu, devices=(), wish=None):
    """
    The emulator for a guest with that IOMMU and these devices: the one wished for; else the machine's own, where it
    will do; else the newest that does. Raises NoEmulator.
    """
    programs = [wish] if wish else found(name)
    if wish and not shutil.which(wish):
        raise NoEmulator(f"no {wish}")
    if not programs:
        raise NoEmulator(f"no {name}")
    versions = {p: version(p) for p in programs}
    new = sorted(NEW_DEVICES & set(devices))
    if new and not wish:
        programs = [p for p in programs if versions[p] >= (8, 0)]
        if not programs:
            raise NoEmulator(f"{', '.join(new)}: needs QEMU 8 or newer ('scripts/fetch-qemu' unpacks one)")
        programs.sort(key=versions.get, reverse=True)
    if iommu == "amd":
        programs = [p for p in programs if versions[p][0] < AMD_WORKS_BELOW]
        if not programs:
            raise NoEmulator("behind the AMD-Vi of QEMU 10 a disk hangs in probe, with bounce buffers or without; "
                             "QEMU 7.2 does not do that")
    return programs[0]


def data_dirs(program):
    """Where one that is not installed has its firmware."""
    share = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(shutil.which(program) or program))), "share")
    if not share.startswith(ROOT + os.sep):
        return []
    return [word for name in ("qemu", "seabios") for word in ("-L", os.path.join(share, name))]


def cpu(program, model, accel):
    """The CPU model: with QEMU 10, "max" has to do without FSRM."""
    if model.startswith("max") and accel == "tcg" and version(program) >= (10, 0):
        return model + ",-fsrm"
    return model
