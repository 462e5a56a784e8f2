# SPDX-License-Identifier: GPL-2.0
"""results.json, which the benchmarks share: a list of rows, each of one instrument."""
import json
import os


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
