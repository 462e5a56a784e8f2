# SPDX-License-Identifier: GPL-2.0
"""What the benchmarks share: results.json, a list of rows, each of one instrument, and what is asked of them."""
import json
import os
import re


def verdict(good, text):
    return f"{'met' if good else 'MISSED':8} {text}"


def target(good, text):
    """A bar that is known to be missed: no reason for a bad exit status."""
    return f"{'met' if good else 'missed':8} {text}"


def status(text):
    """The exit status of a program that ends with such verdicts."""
    return 1 if re.search(r"^MISSED ", text, re.M) else 0


def replace(out, instruments, rows):
    """Rows in place of those that out/results.json had of these instruments; returns its name."""
    path = os.path.join(out, "results.json")
    kept = []
    if os.path.exists(path):
        with open(path) as f:
            kept = [r for r in json.load(f) if r["instrument"] not in instruments]
    with open(path + ".new", "w") as f:
        json.dump(kept + rows, f, indent=1)
        f.write("\n")
    os.replace(path + ".new", path)
    return path
