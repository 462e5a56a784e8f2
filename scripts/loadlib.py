# SPDX-License-Identifier: GPL-2.0
"""Loads that are timed in a guest: what scripts/stack and scripts/sweep share.

A job is shell for the guest that calls tests/guest/load, whose lines come back as
rows. The instrument of a boot is one of
  icount  QEMU counts instructions, on one CPU; the guest's clock is that count
  wall    two CPUs, emulated by a thread each, and the time it takes
"""
import argparse
import collections
import contextlib
import os
import socket
import statistics
import subprocess
import tempfile
import time

import judgelib
from resultslib import status, verdict  # noqa: F401

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BOOT = os.path.join(ROOT, "scripts/boot")     # tests/judge has another
STRICT = "iommu.strict=1 iommu.passthrough=0"
OFF = f"{STRICT} iommu.bounce=off"
AUTO = f"{STRICT} iommu.bounce=on iommu.bounce_limit=auto"
LAZY = "iommu.strict=0 iommu.passthrough=0 iommu.bounce=off"
PASSTHROUGH = "iommu.passthrough=1 iommu.bounce=off"
# What the guests have besides what every guest has, and its package
PROGRAMS = ["iperf3:iperf3", "sockperf:sockperf"]
DISKS = ["nvme", "virtio-blk"]
NICS = ["virtio-net", "e1000e"]
COUNTED_TRIES = 3


class LoadError(Exception):
    """No result; the message says why."""


Mode = collections.namedtuple("Mode", "parameters domain")


def fixed(limit):
    return f"{STRICT} iommu.bounce=on iommu.bounce_limit={limit}"


def listed(known):
    """A type for argparse: a comma list of what is known."""
    def check(text):
        items = list(dict.fromkeys(t for t in text.split(",") if t))
        for t in items:
            if t not in known:
                raise argparse.ArgumentTypeError(f"unknown '{t}'; known: {' '.join(known)}")
        if not items:
            raise argparse.ArgumentTypeError(f"nothing named; known: {' '.join(known)}")
        return items
    return check


def bytes_of(size):
    """4096 for "4k"."""
    return int(size.removesuffix("k")) * (1024 if size.endswith("k") else 1)


def initramfs():
    """That of the other guests with PROGRAMS in it."""
    path = os.path.join(ROOT, "build/guest/load.cpio")
    if subprocess.run([os.path.join(ROOT, "scripts/guest"), path, *PROGRAMS]).returncode:
        raise LoadError("no initramfs; 'scripts/deps bench' installs what goes into it")
    return path


# ---- the other ends of the networks

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def server(*command):
    """Runs it on a port of the loopback, which is its last argument, until the end of the block."""
    port = free_port()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([*command, str(port)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_until_it_listens(process, port, command[0], log)
            yield port
        finally:
            process.terminate()
            process.wait()


def wait_until_it_listens(process, port, name, log):
    """Without a connection, which it might take for a client."""
    deadline = time.monotonic() + 20
    while not listens(port):
        if process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise LoadError(f"{name} does not listen on port {port}: {log.read().strip()[-300:]}")
        time.sleep(0.05)


def listens(port):
    wanted = f"0100007F:{port:04X}"
    with open("/proc/net/tcp") as f:
        return any(line.split()[1] == wanted and line.split()[3] == "0A" for line in f)


@contextlib.contextmanager
def servers(devices):
    """The variables of a job that say where they are; none of them without a network."""
    if not set(devices) & set(NICS):
        yield {}
        return
    with server("iperf3", "-s", "-B", "127.0.0.1", "-p") as stream, \
            server("sockperf", "server", "--tcp", "-i", "127.0.0.1", "-p") as requests:
        yield {"STREAM": stream, "REQUESTS": requests}


# ---- a boot

Boot = collections.namedtuple("Boot", "name instrument iommu mode devices job values expected timeout")
Boot.__doc__ = """What to run: mode is a Mode, devices a list, job the guest's script, values its variables,
expected the number of its rows, timeout in seconds."""


def run(boot, kernel, initrd, out):
    """The rows of a boot, and the lines that are none."""
    base = os.path.join(out, boot.name)
    with servers(boot.devices) as ports:
        with open(base + ".job", "w") as f:
            f.write("".join(f"{k}='{v}'\n" for k, v in {**boot.values, **ports}.items()))
            f.write(". /job/load\n" + boot.job)
        status, said, errors = finish(command(boot, kernel, initrd, base))
    rows, others = parse(said.splitlines())
    if status:
        raise LoadError(f"{boot.name}: the boot failed with status {status}: "
                        + (errors.strip() or "\n".join(others[-5:])))
    check(boot, rows, others)
    wrong = judgelib.complaint(base + ".dmesg")
    if wrong:
        raise LoadError(f"{boot.name}: dmesg: {wrong}")
    common = {"instrument": boot.instrument, "iommu": boot.iommu}
    return [{**common, **row} for row in rows], others


def command(boot, kernel, initrd, base):
    args = [BOOT, "--kernel", kernel, "--initrd", initrd, "--iommu", boot.iommu,
            "--devices", ",".join(boot.devices), "--null-disks", "--script", base + ".job",
            "--file", os.path.join(ROOT, "tests/guest/load"), "--log", base + ".console", "--dmesg", base + ".dmesg",
            "--append", (("intel_iommu=on " if boot.iommu.startswith("vtd") else "") + boot.mode.parameters),
            "--timeout", str(boot.timeout)]
    # One CPU: another one's instructions would be counted with this one's.
    return args + (["--icount", "--smp", "1"] if boot.instrument == "icount" else [])


def finish(args):
    """The status of a command, what it said and what it complained about. Stopped by a
    signal (which must be an exception), the command is still given time to end QEMU."""
    process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    try:
        said, errors = process.communicate()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    return process.returncode, said, errors


def check(boot, rows, others):
    """That the guest did all it was to do, and in the mode it was to do it in."""
    if len(rows) != boot.expected:
        said = " / ".join(line for line in others if not line.startswith("@"))
        raise LoadError(f"{boot.name}: {len(rows)} rows of {boot.expected}; the guest said: {said[-400:]}")
    for words in (line.split() for line in others):
        if words[:1] == ["@domain"] and words[2] != boot.mode.domain:
            raise LoadError(f"{boot.name}: {words[1]} has a domain of type {words[2]}, not {boot.mode.domain}")
    if "iommu.bounce=on" in boot.mode.parameters and "@bounce" not in others:
        raise LoadError(f"{boot.name}: the kernel has no bounce buffers, or did not turn them on")


def parse(lines):
    rows, others = [], []
    for line in lines:
        word, *pairs = line.split() or [""]
        if word == "@row":
            rows.append(row_of(dict(p.split("=", 1) for p in pairs)))
        elif word:
            others.append(line)
    return rows, others


def row_of(said):
    """What the guest said about one load, with its speed made of it."""
    row = {"device": said["device"], "job": said.get("job") or f"{said['rw']}-{said['bs']}",
           "jobs": int(said["jobs"]), "rw": said.get("rw"), "bs": None, "iops": None, "mib_s": None}
    row.update({k: int(v) for k, v in said.items() if k == "cost_ns"})
    if "kib" in said:
        row["bs"] = bytes_of(said["bs"])
        seconds = int(said["ms"]) / 1000
        if not seconds or not int(said["kib"]):
            raise LoadError(f"{row['device']} {row['job']}: fio did nothing")
        row["iops"] = int(said["kib"]) * 1024 / row["bs"] / seconds
        row["mib_s"] = int(said["kib"]) / 1024 / seconds
    elif "kbit_s" in said:
        row["mib_s"] = float(said["kbit_s"]) * 1000 / 8 / (1 << 20)
    else:
        row["iops"] = int(said["answers"]) / float(said["s"])
    return row


# ---- what came of it

def speed(row):
    """I/Os per second, or of a stream MiB/s: what modes are compared by."""
    return row["mib_s"] if row["iops"] is None else row["iops"]


def spread(values):
    """How far apart the runs of a row are, relative to their median."""
    return (max(values) - min(values)) / statistics.median(values)


def save(out, name, text):
    path = os.path.join(out, name)
    with open(path, "w") as f:
        f.write(text + "\n")
    return os.path.relpath(path)
