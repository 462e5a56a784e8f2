# SPDX-License-Identifier: GPL-2.0
"""User-mode Linux with the benchmarks of tests/uml: what scripts/native and scripts/native-stack share."""
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ME = os.path.basename(sys.argv[0])
TREE = "build/linux-test"
STRICT = "iommu.strict=1"
LINE = re.compile(r"\bbench: (.*)")
SPLAT = re.compile(r"WARNING:|BUG:|Call Trace:|Kernel panic")


def fail(text):
    sys.exit(f"{ME}: {text}")


def fixed(limit):
    return f"{STRICT} iommu.bounce=on iommu.bounce_limit={limit}"


def command(*args, **env):
    subprocess.run(args, cwd=ROOT, env={**os.environ, **env}, check=True)


def build(numbers=(1, 2)):
    """Bring the kernels for these numbers of CPUs up to date."""
    command("scripts/tree", "-o", TREE, "-f", "tests/uml/overlay", "-p", "tests/uml/uml.patch")
    for cpus in numbers:
        more = ["tests/uml/bench-smp.config"] if cpus > 1 else []
        command("scripts/kernel", kernel(cpus), TREE, "tests/uml/bench.config", *more, "--", "linux", ARCH="um")


def kernel(cpus):
    return "uml-bench" if cpus == 1 else "uml-bench-smp"


def boot(out, name, cpus, timeout, *parameters):
    """The results of one boot, as they were printed."""
    log = os.path.join(out, f"{ME}-{name.replace(' ', '-')}.log")
    args = [os.path.join(ROOT, "build", kernel(cpus), "linux"), f"umid={ME}-{os.getpid()}", "mem=2G", "seccomp=on",
            *([f"ncpus={cpus}"] if cpus > 1 else []), "con=null", "con0=fd:0,fd:1", "loglevel=7", "kunit.enable=0",
            *parameters]
    with open(log, "w") as console:
        try:
            subprocess.run(args, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT, timeout=timeout,
                           check=False, start_new_session=True)
        except subprocess.TimeoutExpired:
            fail(f"{name}: not done after {timeout} s; see {log}")
    with open(log, errors="replace") as f:
        lines = f.readlines()
    said = [m[1].strip() for m in map(LINE.search, lines) if m]
    if "done" not in said or "failed" in said or any(map(SPLAT.search, lines)):
        fail(f"{name}: did not come to its end, or not without an error; see {log}")
    return [json.loads(s) for s in said if s.startswith("{")]
