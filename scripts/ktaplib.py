# SPDX-License-Identifier: GPL-2.0
"""
Results of KUnit, read by the kernel's own parser, that of "kunit.py parse": a skipped test is a skipped one, and a
suite that did not come to its end is an error.
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PARSER = os.path.join(ROOT, "build/pristine/tools/testing/kunit")


class Result:
    """Of one test: status is "ok", "not ok" or "skip"; log has what was said of it if it failed."""

    def __init__(self, suite, name, status, reason, log):
        self.suite, self.name, self.status, self.reason, self.log = suite, name, status, reason, log

    def line(self, prefix):
        said = f"{'not ok' if self.status == 'not ok' else 'ok'} - {prefix}{self.name}"
        return said + (f" # SKIP {self.reason}".rstrip() if self.status == "skip" else "")


def parse(lines):
    """
    (results, errors) of all tests in a log of the kernel, or in what debugfs has of some suites, one after the other;
    errors are those of the format.
    """
    lines = [line.rstrip("\n") for line in lines]
    begins = [n for n, line in enumerate(lines) if line.startswith("KTAP version")][1:]
    results, errors = [], []
    for first, last in zip([0, *begins], [*begins, len(lines)]):
        more, wrong = parse_one(lines[first:last])
        results += more
        errors += wrong
    return results, errors


def parse_one(lines):
    if not os.path.isdir(PARSER):
        raise OSError(f"no {os.path.relpath(PARSER, ROOT)}: run 'make fetch'")
    if PARSER not in sys.path:
        sys.path.insert(0, PARSER)
        sys.dont_write_bytecode = True
    import kunit_parser
    from kunit_printer import Printer

    class Errors(Printer):
        """Hears of everything; what is no result is an error, and is counted as one."""

        def __init__(self):
            super().__init__(print=False)
            self.found = []

        def print_with_timestamp(self, message):
            if "[ERROR]" in message:
                self.found.append(re.sub(r".*\[ERROR\]\S* *", "", re.sub(r"\x1b\[[0-9;]*m", "", message)))

    printer = Errors()
    main = kunit_parser.parse_run_tests(iter(lines), printer)
    results, errors = [], list(printer.found)

    def status(test):
        if test.status == kunit_parser.TestStatus.SUCCESS:
            return "ok"
        return "skip" if test.status == kunit_parser.TestStatus.SKIPPED else "not ok"

    def reason(name):
        word = re.compile(r"\bok \d+ (?:- )?" + re.escape(name) + r" # SKIP *(.*)")
        return next((found[1].strip() for found in map(word.search, lines) if found), "")

    def logs(test):
        found = [line.strip() for line in test.log]
        for inner in test.subtests:
            found += logs(inner)
        return found

    for suite in main.subtests:
        for test in suite.subtests:
            if not test.name:           # one that is missing: an error says so
                continue
            told = status(test)
            results.append(Result(suite.name, test.name, told, reason(test.name) if told == "skip" else None,
                                  logs(test) if told == "not ok" else []))
        # One may fail where none of its tests does, as in its setup, or have none at all.
        if not suite.subtests or (status(suite) == "not ok" and all(status(t) != "not ok" for t in suite.subtests)):
            errors.append(f"{suite.name}: not ok as a whole, or without a result")
    if main.counts.errors and not errors:
        errors.append("the results are incomplete")
    return results, errors
