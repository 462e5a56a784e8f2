# SPDX-License-Identifier: GPL-2.0
"""The series as data: entries, files of ours, and the tree after each patch.

Words used here and by the scripts on top of this:

base    a pristine kernel: a directory or a commit, read file by file
ours    a file that is in this project in full, at its kernel path, in its final state
entry   one file of series/: a message, the files of ours it adds, hunks
state   what one tree differs in from the base: {path: File, or None for "deleted"}
"""
import difflib
import fcntl
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections import namedtuple

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
BUILD = os.path.join(ROOT, "build")

# Where files of ours may live: the kernel's top directories, less those whose
# names this project uses for itself.
KERNEL_DIRS = ("arch block crypto Documentation drivers fs include init io_uring ipc "
               "kernel lib mm net samples security sound tools virt").split()
# What editors and in-place builds leave behind.
DROPPINGS = re.compile(r"(~|\.o|\.orig|\.rej|\.sw.|\.pyc|\.cmd)$|^\.#|^__pycache__$|^\.git$")

COVER = "0000-cover.md"
ENTRY_NAME = re.compile(r"^\d{4}-[A-Za-z0-9._-]+\.patch$")

File = namedtuple("File", "mode data")          # mode is 0o644 or 0o755


class SeriesError(Exception):
    """Something a person has to correct; the message is one line, or starts with one."""


# ---- trees

def read_file(path):
    try:
        st = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(st.st_mode):
        raise SeriesError(f"{path}: not a regular file")
    with open(path, "rb") as f:
        return File(0o755 if st.st_mode & 0o100 else 0o644, f.read())


def write_file(path, file):
    """Replace by rename: the old file may be a hard link into the pristine tree."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temp = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")
    with open(temp, "wb") as f:
        f.write(file.data)
    os.chmod(temp, file.mode)
    os.rename(temp, path)


def read_text(path):
    with open(path, encoding="utf-8") as f:
        try:
            return f.read()
        except UnicodeDecodeError:
            raise SeriesError(f"{path}: is not UTF-8") from None


def numbered(path):
    """The first of path-1, path-2, ... that is not there yet."""
    number = 1
    while os.path.lexists(f"{path}-{number}"):
        number += 1
    return f"{path}-{number}"


class DirBase:
    def __init__(self, path):
        self.path = path

    def read(self, name):
        return read_file(os.path.join(self.path, name))


class GitBase:
    def __init__(self, repo, commit):
        self.repo, self.commit = repo, commit

    def read(self, name):
        entry = git(self.repo, "ls-tree", "-z", self.commit, "--", name)
        if not entry:
            return None
        mode, kind, sha = entry.split("\t")[0].split()
        if kind != "blob" or mode == "120000":
            raise SeriesError(f"{name}: not a regular file in {self.commit}")
        return File(0o755 if mode == "100755" else 0o644, git(self.repo, "cat-file", "blob", sha, text=False))


def pristine():
    path = os.path.join(BUILD, "pristine")
    if not os.path.exists(os.path.join(path, "Makefile")):
        raise SeriesError("there is no build/pristine; run 'make fetch' first")
    return DirBase(path)


def our_files(root=ROOT):
    found = {}
    for top in KERNEL_DIRS:
        for folder, folders, names in os.walk(os.path.join(root, top)):
            folders[:] = sorted(f for f in folders if not DROPPINGS.search(f))
            for name in names:
                if not DROPPINGS.search(name):
                    path = os.path.join(folder, name)
                    found[os.path.relpath(path, root)] = read_file(path)
    return found


# ---- git

def git_env(extra=None):
    # A hook or a rebase around us must not redirect our git elsewhere.
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    env.update({"LC_ALL": "C"}, **(extra or {}))
    return env


def git(repo, *args, text=True, data=None, env=None, check=True):
    run = subprocess.run(["git", "-C", repo, *args], input=data, env=git_env(env),
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if run.returncode and check:
        error = run.stderr.decode(errors="replace").strip() or f"exit status {run.returncode}"
        raise SeriesError(f"git {args[0]} in {repo}: {error}")
    if not check and run.returncode:
        return None
    try:
        return run.stdout.decode() if text else run.stdout
    except UnicodeDecodeError:
        raise SeriesError(f"git {' '.join(args)} in {repo}: what it says is not UTF-8") from None


def identity():
    """Who the patches are from: whoever runs this, as their git knows them."""
    name = (git(ROOT, "config", "user.name", check=False) or "").strip()
    email = (git(ROOT, "config", "user.email", check=False) or "").strip()
    if not (name and email):
        name, email = "IOMMU bounce buffers", "iommu-bounce-buffers@localhost"
    return {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", name), ("EMAIL", email))}


# ---- entries

class Entry:
    """One patch of the series as written down in series/."""

    def __init__(self, name, text):
        self.name = name
        lines = text.split("\n")
        cut = next((i for i, line in enumerate(lines) if line == "---"), len(lines))
        head, self.diff = lines[:cut], "\n".join(lines[cut + 1:])
        found = re.match(r"Subject: *(\S.*)$", head[0])
        if not found:
            raise SeriesError(f"{name}: no subject (the first line must be 'Subject: ...')")
        self.subject = found.group(1).strip()
        head = head[1:]
        while head and not head[-1].strip():
            head.pop()
        self.adds = []
        while head and head[-1].startswith("Adds:"):
            self.adds.insert(0, head.pop()[len("Adds:"):].strip())
        self.body = "\n".join(head).strip("\n")
        self.files = self._split()
        self._check()

    def _split(self):
        """The diff, file by file: {path: text}."""
        files = {}
        if not self.diff.strip():
            return files
        parts = re.split(r"^(?=diff --git )", self.diff, flags=re.M)
        if parts[0].strip() or len(parts) == 1:
            raise SeriesError(f"{self.name}: what follows '---' must be git hunks ('diff --git a/... b/...')")
        for part in parts[1:]:
            found = re.match(r"diff --git a/(\S+) b/(\S+)\n", part)
            if not found or found.group(1) != found.group(2):
                raise SeriesError(f"{self.name}: cannot use '{part.splitlines()[0]}' (renames and odd names do not go)")
            if re.search(r"^new file mode", part.split("\n@@")[0], flags=re.M):
                raise SeriesError(f"{self.name}: {found.group(1)} is a new file; "
                                  "put it into the tree and write 'Adds: ...'")
            if found.group(1) in files:
                raise SeriesError(f"{self.name}: two diffs for {found.group(1)}")
            files[found.group(1)] = part if part.endswith("\n") else part + "\n"
        return files

    def _check(self):
        if not self.files and not self.adds:
            raise SeriesError(f"{self.name}: neither hunks nor 'Adds:' lines")
        for line in self.body.split("\n"):
            if line.startswith("Adds:"):
                raise SeriesError(f"{self.name}: 'Adds:' lines go last, directly above '---'")
            if line.startswith("Signed-off-by:"):
                raise SeriesError(f"{self.name}: carries a sign-off; whoever mails the series adds theirs")
        for path in self.adds:
            if path in self.files:
                raise SeriesError(f"{self.name}: both adds {path} and has hunks to it")

    def message(self):
        return self.subject + ("\n\n" + self.body if self.body else "") + "\n"


def load_series(root=ROOT):
    """The cover letter as (subject, body), and the entries in order."""
    folder = os.path.join(root, "series")
    if not os.path.isdir(folder):
        raise SeriesError("there is no series/ directory")
    names = sorted(n for n in os.listdir(folder) if not DROPPINGS.search(n))
    for name in names:
        if name != COVER and not ENTRY_NAME.match(name):
            raise SeriesError(f"series/{name}: not named NNNN-some-words.patch")
    entries = []
    for number, name in enumerate((n for n in names if n != COVER), 1):
        if int(name[:4]) != number:
            raise SeriesError(f"series/{name}: expected number {number:04d} here")
        entries.append(Entry(f"series/{name}", read_text(os.path.join(folder, name))))
    return load_cover(folder), entries


def load_cover(folder):
    path = os.path.join(folder, COVER)
    if not os.path.exists(path):
        raise SeriesError(f"there is no series/{COVER}")
    first, _, body = read_text(path).partition("\n")
    if not re.match(r"Subject: *\S", first):
        raise SeriesError(f"series/{COVER}: no subject (the first line must be 'Subject: ...')")
    for number, line in enumerate(body.split("\n"), 2):
        if line.startswith("#"):
            raise SeriesError(f"series/{COVER}:{number}: b4 drops lines that start with '#'")
    return first.partition(":")[2].strip(), body.strip("\n")


# ---- states

def apply_diff(files, diff, what, reverse=False):
    """{path: File} with the diff applied; the paths are those the diff names."""
    with tempfile.TemporaryDirectory(prefix="series.") as scratch:
        for path, file in files.items():
            if file is not None:
                write_file(os.path.join(scratch, path), file)
        # Outside any repository "git apply" is a stricter patch(1): no fuzz, all or nothing.
        run = subprocess.run(["git", "apply", "--whitespace=nowarn"] + (["-R"] if reverse else []),
                             input=diff.encode(), cwd=scratch, capture_output=True, check=False,
                             env=git_env({"GIT_CEILING_DIRECTORIES": os.path.dirname(scratch)}))
        if run.returncode:
            raise SeriesError(f"{what}: stale hunk" + (" (on the way back)" if reverse else "") + ":\n    " +
                              run.stderr.decode(errors="replace").strip().replace("\n", "\n    "))
        return {path: read_file(os.path.join(scratch, path)) for path in files}


def claims(entries, ours, base):
    """Check that every file of ours is added once, and none of them is upstream's."""
    adder = {}
    for entry in entries:
        for path in entry.adds:
            if path in adder:
                raise SeriesError(f"{path}: claimed twice, by {adder[path]} and {entry.name}")
            if path not in ours:
                raise SeriesError(f"{entry.name}: adds {path}, which is not in this project")
            adder[path] = entry.name
        for path in entry.files:
            if path in ours and path not in adder:
                raise SeriesError(f"{entry.name}: has hunks to {path}, which no earlier entry adds")
    for path in sorted(ours):
        if path not in adder:
            raise SeriesError(f"{path}: unclaimed; which entry of series/ adds it?")
        if base.read(path) is not None:
            raise SeriesError(f"{path}: is an upstream file; write hunks to it into series/ instead")
    return adder


def final_state(base, entries, ours):
    """The finished tree: upstream files with all their hunks, and ours as they are."""
    state = dict(ours)
    for entry in entries:
        for path, diff in entry.files.items():
            if path in ours:
                continue
            before = state[path] if path in state else base.read(path)
            if before is None:
                raise SeriesError(f"{entry.name}: hunks to {path}, which does not exist")
            state.update(apply_diff({path: before}, diff, f"{entry.name}: {path}"))
    return state


def all_states(base, entries, ours):
    """The state after 0, 1, ... all entries, found by walking back from the finished tree."""
    claims(entries, ours, base)
    states = [final_state(base, entries, ours)]
    for entry in reversed(entries):
        state = dict(states[0])
        for path, diff in entry.files.items():
            state.update(apply_diff({path: state[path]}, diff, f"{entry.name}: {path}", reverse=True))
        for path in entry.adds:
            state[path] = None
        states.insert(0, state)
    for path, file in states[0].items():
        if file != base.read(path):
            raise SeriesError(f"{path}: the series does not add up to the base:\n    " + first_difference(base.read(path), file))
    return states


def first_difference(want, got):
    want, got = ((f.data if f else b"").decode(errors="replace").splitlines() for f in (want, got))
    lines = [line for line in difflib.unified_diff(want, got, "base", "walked back", lineterm="", n=1)]
    return "\n    ".join(lines[:12])


# ---- putting a state on disk

MANIFEST = ".series-tree"       # the paths that may differ from pristine, one a line
SUMS = ".series-sums"           # what was last written to each of them, as sha256sum has it


def digest(file):
    return hashlib.sha256(file.data).hexdigest()


def keep_edits(target, state):
    """Somebody may have edited the tree instead of the project; that is not ours to drop."""
    try:
        sums = dict(reversed(line.split("  ", 1)) for line in read_text(os.path.join(target, SUMS)).splitlines())
    except (FileNotFoundError, NotADirectoryError):
        return
    kept = None
    for path, sum_ in sums.items():
        file = read_file(os.path.join(target, path))
        if file is None or digest(file) == sum_ or file == state.get(path):
            continue
        kept = kept or numbered(os.path.join(BUILD, "tree-edits", os.path.basename(target)))
        write_file(os.path.join(kept, path), file)
        print(f"{os.path.basename(sys.argv[0])}: {path} was edited in {os.path.relpath(target)}, where it is "
              f"replaced; a copy is in {os.path.relpath(kept)}")


def sync_tree(target, source, state):
    """Make `target` the tree `source` with `state` on top; return the paths that changed.

    The first copy is made of hard links. Later only files whose content differs
    are replaced, so that a build beside the tree rebuilds no more than it must.
    """
    stamp = read_text(os.path.join(source, ".fetched"))
    keep_edits(target, state)
    old = set()
    try:
        with open(os.path.join(target, MANIFEST), encoding="utf-8") as f:
            if f.readline() != "from " + stamp.replace("\n", " ") + "\n":
                raise FileNotFoundError         # another kernel: start afresh
            old = set(f.read().split("\n")) - {""}
    except (FileNotFoundError, NotADirectoryError):
        shutil.rmtree(target, ignore_errors=True)
        temp = f"{target}.new.{os.getpid()}"
        try:
            subprocess.run(["cp", "-al", source, temp], check=True)
            os.rename(temp, target)
        except BaseException:
            shutil.rmtree(temp, ignore_errors=True)
            raise
    below = DirBase(source)
    # Written first: should the loop be interrupted, the next run still knows
    # every path it may have touched.
    temp = os.path.join(target, MANIFEST + ".new")
    with open(temp, "w", encoding="utf-8") as f:
        f.write("from " + stamp.replace("\n", " ") + "\n" + "".join(p + "\n" for p in sorted(old | set(state))))
    os.rename(temp, os.path.join(target, MANIFEST))
    changed, sums = [], ""
    for path in sorted(old | set(state)):
        want = state[path] if path in state else below.read(path)
        if want is not None:
            sums += f"{digest(want)}  {path}\n"
        place = os.path.join(target, path)
        if read_file(place) == want:
            continue
        changed.append(path)
        if want is None:
            os.unlink(place)
        else:
            write_file(place, want)
    write_file(os.path.join(target, SUMS), File(0o644, sums.encode()))
    return changed


def lock(name):
    """Keep the returned object; the lock ends with it."""
    os.makedirs(BUILD, exist_ok=True)
    handle = open(os.path.join(BUILD, f".lock-{name}"), "w", encoding="utf-8")
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def main_guard(main):
    """Run main; errors meant for people come out as one, without a traceback."""
    me = os.path.basename(sys.argv[0])
    try:
        sys.exit(main())
    except SeriesError as error:
        sys.exit(f"{me}: error: {error}")
    except (OSError, UnicodeDecodeError, subprocess.SubprocessError) as error:
        if getattr(error, "filename", None) == "git":
            error = "git is missing; 'make deps' installs or names what is needed"
        sys.exit(f"{me}: error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
