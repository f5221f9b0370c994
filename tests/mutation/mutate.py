"""Puts small mistakes into the code, one at a time, and says which of them the tests notice.

    mutate.py [--only PATTERN] [--jobs N] [--each-s S] [--seconds S] [--resume] [--first] [--list]

The mistakes are in the `*.toml` files here, chosen by hand: what somebody may well get wrong in that line.
Each is made in a copy of the tree. The tests that mirror the file run first, the wider ones only if these
pass. A mistake is noticed if a test fails, or does not end in time. One that no test can notice has an
`equivalent`, which says why; it counts as not noticed. Exit code 1: under 95 % are noticed, or not all were
tried; 2: the tables do not fit the code, or the tests fail without any mistake.
"""

import argparse
import contextlib
import fnmatch
import hashlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FATES = ROOT / "build" / "mutate.jsonl"
GOAL = 0.95
ONE_TEST_S = 40
"""A test that takes longer waits for something that the mistake has taken away."""
_TOO_LONG = " takes too long"
"""What tests/conftest.py says of a test shortly before its time is over."""
NOTICED, EQUIVALENT, NOT_NOTICED, STALE = "noticed", "equivalent", "NOT NOTICED", "stale"


class Mutation(NamedTuple):
    """One mistake: `old`, which is in `file` exactly once, becomes `new`."""

    file: str
    note: str
    old: str
    new: str
    first: tuple[str, ...]
    """The tests that run first; paths from the root of the tree."""
    wider: tuple[str, ...]
    """The tests that run where the first ones notice nothing."""
    equivalent: str
    """Why no test can notice it; empty for a mistake."""

    @property
    def name(self) -> str:
        return f"{self.file}: {self.note}"


class Fate(NamedTuple):
    """Whether a mistake was noticed, and by which test."""

    name: str
    fate: str
    by: str


class TableFault(Exception):  # noqa: N818 - named as the other faults are
    """A table does not fit the code, or a test does not pass without a mistake."""


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def mirror(file: str) -> str:
    """The tests of a file of the code: `streamd/x/_y.py` has `tests/x/test_y.py`."""
    path = Path(file)
    folder = Path("tests", *path.parent.parts[1:])
    return str(folder / f"test_{path.stem.lstrip('_')}.py")


def read_tables(folder: Path) -> list[Mutation]:
    """The mistakes of every table in the folder."""
    found = []
    for table in sorted(folder.glob("*.toml")):
        for file, entry in tomllib.loads(table.read_text()).items():
            first = tuple(entry.get("first", (mirror(file),)))
            wider = tuple(path for path in entry.get("wider", ()) if path not in first)
            found += [
                Mutation(
                    file, each["note"], each["old"], each["new"], tuple(each.get("first", first)), wider,
                    each.get("equivalent", ""),
                )
                for each in entry["mistake"]
            ]  # fmt: skip
    return found


def mutated(mutation: Mutation, root: Path) -> str:
    """The text of the file with the mistake in it. Raises `TableFault`."""
    path = root / mutation.file
    if not path.is_file():
        raise TableFault(f"{mutation.name}: there is no such file")
    text = path.read_text()
    if (found := text.count(mutation.old)) != 1:
        raise TableFault(f"{mutation.name}: its old text is in the file {found} times, not once")
    return text.replace(mutation.old, mutation.new)


def misfit(mutation: Mutation, root: Path) -> str | None:
    """Why the mistake can no longer be made in the code; None where it can."""
    try:
        mutated(mutation, root)
    except TableFault as fault:
        return str(fault)
    return None


class Tree:
    """A copy of the code and its tests, in which one mistake at a time is made."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.folder = folder
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listing, cwd=source, capture_output=True, check=True, text=True).stdout
        for name in filter(None, names.split("\0")):
            if (source / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source / name, folder / name)
        subprocess.run([sys.executable, "-m", "compileall", "-q", "streamd"], cwd=folder, check=True)

    def fate(self, mutation: Mutation, each_s: float) -> Fate:
        """Make the mistake, run the tests, take the mistake back."""
        path = self.folder / mutation.file
        text, wrong = path.read_text(), mutated(mutation, self.folder)
        try:
            for tests in filter(None, (mutation.first, mutation.wider)):
                self._write(path, wrong)
                by = self.failure(tests, each_s)
                if by is not None and tests is mutation.wider and "::" in by:
                    self._write(path, text)
                    if self.failure([by.partition(" - ")[0]], each_s) is not None:
                        raise TableFault(f"{by} fails without any mistake too")
                if by is not None:
                    return Fate(mutation.name, NOTICED, by)
        finally:
            self._write(path, text)
        return Fate(mutation.name, EQUIVALENT if mutation.equivalent else NOT_NOTICED, mutation.equivalent)

    def failure(self, tests: Iterable[str], each_s: float) -> str | None:
        """The first test that fails, or that there was a hang; None: all pass."""
        command = [
            sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "--tb=no", "--no-header", "-p", "no:randomly",
            "-p", "no:cacheprovider", "--hypothesis-seed=0", "-o", f"timeout={ONE_TEST_S}", *tests,
        ]  # fmt: skip
        env = {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "500"}
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                command, cwd=self.folder, env=env, stdout=output, stderr=output, start_new_session=True
            )
            _running.add(process)
            try:
                code = process.wait(each_s)
            except subprocess.TimeoutExpired:
                return f"a hang: no end after {each_s:.0f} s"
            finally:
                _end_session(process)
                _running.discard(process)
            output.seek(0)
            said = output.read()
        if code == 0:
            return None
        if code in (4, 5):
            raise TableFault(f"pytest ran no test of {' '.join(tests)}: {said[-500:]}")
        lines = [line.partition(" ")[2] for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
        lines += [
            f"{line.removesuffix(_TOO_LONG)} - no end after {ONE_TEST_S} s"
            for line in said.splitlines()
            if line.endswith(_TOO_LONG)
        ]
        return lines[0] if lines else f"pytest ended with code {code}"

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink()  # the next text may have the same length and the same second


_running: set[subprocess.Popen[bytes]] = set()


def _end_session(process: subprocess.Popen[bytes]) -> None:
    """End the tests and the daemons that they have left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def key_of(mutation: Mutation, root: Path) -> str:
    """Changes whenever the code, the mistake or one of its tests does."""
    digest = hashlib.sha256(repr(mutation).encode() + (root / mutation.file).read_bytes())
    for name in (*mutation.first, *mutation.wider):
        path = root / name.partition("::")[0]
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _ended() -> Iterator[None]:
    """No tests go on after an interrupt or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        for process in list(_running):
            _end_session(process)


class Run:
    """All the mistakes that were asked for, some at a time, each worker in a tree of its own."""

    def __init__(self, mutations: list[Mutation], arguments: argparse.Namespace) -> None:
        self.mutations = mutations
        self.arguments = arguments
        self.ends_mono_s = time.monotonic() + arguments.seconds
        self.fates: list[Fate] = []
        self.trees: queue.Queue[Tree] = queue.Queue()

    def known(self) -> dict[str, Fate]:
        """By key, what an earlier run has found noticed and nothing has changed about since."""
        if not (self.arguments.resume and FATES.exists()):
            return {}
        entries: Iterator[Any] = map(json.loads, FATES.read_text().splitlines())
        return {entry["key"]: Fate(entry["name"], NOTICED, entry["by"]) for entry in entries}

    def all(self) -> None:
        """Try each mistake. Raises `TableFault`."""
        known = self.known()
        keys = {mutation: key_of(mutation, ROOT) for mutation in self.mutations}
        self.fates = [known[key] for key in keys.values() if key in known]
        left = [mutation for mutation, key in keys.items() if key not in known]
        FATES.parent.mkdir(exist_ok=True)
        if not self.arguments.resume:
            FATES.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(prefix="mutate-") as folder, FATES.open("a") as book, _ended():
            for number in range(min(self.arguments.jobs, len(left))):
                self.trees.put(Tree(ROOT, Path(folder, str(number))))
            if left:
                self._check_tests({test for mutation in left for test in mutation.first})
            workers = ThreadPoolExecutor(self.arguments.jobs)
            try:
                for mutation, fate in zip(left, workers.map(self._try, left), strict=True):
                    if fate is not None:
                        self._tell(fate)
                    if fate is not None and fate.fate == NOTICED:
                        entry = {"key": keys[mutation], "name": fate.name, "by": fate.by}
                        book.write(json.dumps(entry) + "\n")
                        book.flush()
            finally:
                self.ends_mono_s = 0.0
                workers.shutdown(wait=False, cancel_futures=True)

    def _tell(self, fate: Fate) -> None:
        self.fates.append(fate)
        by = f"  [{fate.by}]" if fate.by else ""
        say(f"{len(self.fates):4}/{len(self.mutations)}  {fate.fate:11}  {fate.name}{by}")

    def _check_tests(self, tests: Iterable[str]) -> None:
        """A test that fails anyhow would notice everything."""
        tree = self.trees.get()
        by = tree.failure(sorted(tests), max(self.arguments.each_s, 900))
        self.trees.put(tree)
        if by is not None:
            raise TableFault(f"{by} fails without any mistake")

    def _try(self, mutation: Mutation) -> Fate | None:
        if time.monotonic() > self.ends_mono_s:
            return None
        tree = self.trees.get()
        try:
            return tree.fate(mutation, self.arguments.each_s)
        finally:
            self.trees.put(tree)

    def summary(self) -> int:
        """Print what came out; the exit code."""
        number = {
            fate: sum(each.fate == fate for each in self.fates) for fate in (NOTICED, EQUIVALENT, NOT_NOTICED)
        }
        for fate in self.fates:
            if fate.fate == NOT_NOTICED:
                say(f"{NOT_NOTICED}  {fate.name}")
        share = number[NOTICED] / max(len(self.fates), 1)
        say(
            f"{number[NOTICED]} of {len(self.fates)} mistakes noticed: {share:.1%}"
            f" ({number[EQUIVALENT]} equivalent, {number[NOT_NOTICED]} not noticed)"
        )
        untried = len(self.mutations) - len(self.fates)
        if untried:
            say(f"{untried} not tried: time is over; go on with --resume")
        return 1 if untried or share < GOAL else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--only", default="", metavar="PATTERN", help="mistakes whose file or note has this in it"
    )
    parser.add_argument(
        "--jobs", type=int, default=2 * (os.cpu_count() or 1), metavar="N", help="how many at a time"
    )
    parser.add_argument(
        "--each-s", type=float, default=120, metavar="S", help="a test run longer than this hangs"
    )
    parser.add_argument(
        "--seconds", type=float, default=3600, metavar="S", help="begin no more after this time"
    )
    parser.add_argument("--resume", action="store_true", help="leave out what is known to be noticed")
    parser.add_argument(
        "--first", action="store_true", help="run no wider tests: quick, while tests are written"
    )
    parser.add_argument("--list", action="store_true", help="say which mistakes there are")
    arguments = parser.parse_args()
    pattern = f"*{arguments.only}*"
    mutations = [each for each in read_tables(HERE) if fnmatch.fnmatch(each.name, pattern)]
    if arguments.list:
        say("\n".join(mutation.name for mutation in mutations))
        return 0
    if arguments.first:
        mutations = [mutation._replace(wider=()) for mutation in mutations]
    stale = [fault for mutation in mutations if (fault := misfit(mutation, ROOT))]
    for fault in stale:
        say(f"{STALE:11}  {fault}")
    try:
        run = Run([each for each in mutations if misfit(each, ROOT) is None], arguments)
        run.all()
    except TableFault as fault:
        sys.stderr.write(f"mutate: {fault}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("mutate: interrupted; go on with --resume\n")
    return run.summary() or bool(stale)


if __name__ == "__main__":
    sys.exit(main())
