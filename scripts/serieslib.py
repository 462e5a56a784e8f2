# SPDX-License-Identifier: GPL-2.0
"""What the tests ask about the series: its patches, and the files these touch."""
import glob
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
BUILD = os.path.join(ROOT, "build")


class SeriesError(Exception):
    """Something a person has to correct."""


def read_text(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def patches():
    return sorted(glob.glob(os.path.join(ROOT, "series/*/*.patch")))


def touched(names=None):
    """{path: whether it is a new file} of these patches, or of all."""
    found = {}
    for name in patches() if names is None else names:
        for path, new in re.findall(r"^diff --git a/(\S+) b/\S+\n(new file)?", read_text(name), re.M):
            found.setdefault(path, bool(new))
    return found


def ours():
    """The files that the patches add."""
    return sorted(path for path, new in touched().items() if new)


def git(repo, *args):
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    run = subprocess.run(["git", "-C", repo, *args], env=env, capture_output=True, text=True, errors="replace", check=False)
    if run.returncode:
        raise SeriesError(f"git {args[0]} in {repo}: {run.stderr.strip()}")
    return run.stdout


def main_guard(main):
    """Run main; errors meant for people come out as one, without a traceback."""
    try:
        sys.exit(main())
    except (SeriesError, OSError) as error:
        sys.exit(f"{os.path.basename(sys.argv[0])}: error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
