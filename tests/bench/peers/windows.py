"""Measures windows of streamd and others in turn, in one run: `python -m tests.bench.peers.windows`."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from streamd.bench.machine import facts
from tests.bench.peers.window_records import KEYS

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True)
class System:
    """What makes the windows: the script `window_SCRIPT.py`, in a process of its own."""

    name: str
    script: str
    does: str
    package: str | None = None
    """The wheel that it needs; None: it runs with streamd's Python."""
    share: float = 1.0
    """Of the records, where it would take minutes for all."""


SYSTEMS = (
    System("a loop written by hand", "loop", "a dict of the open windows; no late records, no state on disk"),
    System("streamd's step `window`", "streamd", "in this process, batches of 512 dicts"),
    System(
        "Bytewax", "bytewax", "`fold_window` with an `EventClock` that stands still, one worker, from a list",
        "bytewax==0.21.1", 0.1,
    ),
    System(
        "Pathway", "pathway", "`windowby` with a Python connector; gives a result again when it changes",
        "pathway==0.33.0",
    ),
)  # fmt: skip


class NoFigure(Exception):  # noqa: N818 - a run without a figure
    """Why a system has no figure."""


def python_of(system: System, peers: Path) -> Path:
    """Its interpreter, in a virtual environment with its wheel. Raises `NoFigure` without the wheel."""
    if system.package is None:
        return Path(sys.executable)
    folder = peers / f"windows-{system.script}"
    python = folder / "bin/python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", system.package]
    done = subprocess.run(pip, check=False, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        raise NoFigure(f"pip could not install {system.package} for Python {sys.version.split()[0]}")
    return python


def measure(system: System, python: Path, records: int) -> dict[str, float]:
    """One run: its CPU and wall seconds. Raises `NoFigure` if it fails or a result is wrong."""
    try:
        done = subprocess.run(
            [python, HERE / f"window_{system.script}.py", str(records)],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=_TIMEOUT_S,
            check=False, capture_output=True, text=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NoFigure(f"it took more than {_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        raise NoFigure((done.stderr.strip() or "no message").splitlines()[-1])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(records: int, figures: dict[System, list[float]], faults: dict[System, str]) -> list[str]:
    """The lines of the table in Markdown: CPU seconds a million records, and how often the first of them."""
    lines = [
        "| system | records | CPU s/M | lowest to highest | times the loop | what it does |",
        "|---|---|---|---|---|---|",
    ]
    base = next((statistics.median(found) for found in figures.values() if found), 0.0)
    for system, found in figures.items():
        count = f"{records * system.share:,.0f}"
        if not found:
            lines.append(f"| {system.name} | {count} | no figure: {faults[system]} | | | {system.does} |")
            continue
        median = statistics.median(found)
        lines.append(
            f"| {system.name} | {count} | {median:.2f} | {min(found):.2f} to {max(found):.2f}"
            f" | {median / base:.1f} | {system.does} |"
        )
    return lines


def main() -> int:
    """Fetch, measure, print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument(
        "--peers", type=Path, default=Path(".peers"), metavar="DIR", help="where they are installed"
    )
    parser.add_argument("--only", nargs="+", metavar="SCRIPT", choices=[s.script for s in SYSTEMS])
    parser.add_argument("--fetch", action="store_true", help="only fetch them")
    options = parser.parse_args()
    wanted = [system for system in SYSTEMS if options.only is None or system.script in options.only]
    figures: dict[System, list[float]] = {system: [] for system in wanted}
    faults: dict[System, str] = {}
    pythons: dict[System, Path] = {}
    for system in wanted:
        try:
            pythons[system] = python_of(system, options.peers.absolute())
        except NoFigure as why:
            faults[system] = str(why)
    if options.fetch:
        return 1 if faults else 0
    for number in range(options.rounds):
        for system, python in pythons.items():
            print(f"round {number + 1} of {options.rounds}: {system.name}", file=sys.stderr)
            count = int(options.records * system.share)
            try:
                figures[system].append(measure(system, python, count)["cpu_s"] / count * 1e6)
            except NoFigure as why:
                faults[system] = str(why)
    machine = facts(Path.cwd())
    what = (machine["processor"], f"{machine['cores_usable']} cores", machine["kernel"], machine["python"])
    print(", ".join(what), end="\n\n")
    print(f"{options.records:,} records of {KEYS:,} keys, windows of a minute: count, mean, min, max\n")
    print("\n".join(table(options.records, figures, faults)))
    for system, why_not in faults.items():
        print(f"- {system.name}: {why_not}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
