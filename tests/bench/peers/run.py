"""Measures streamd and others in turn, in one run on one machine: `python -m tests.bench.peers.run`."""

import argparse
import statistics
import sys
from pathlib import Path

from streamd.bench.machine import facts
from tests.bench.peers import fetch
from tests.bench.peers.blaster import json_lines, syslog_lines
from tests.bench.peers.measure import FailedRun, Figure, measure
from tests.bench.peers.systems import JSON, NOT_HERE, SYSTEMS, System


def main() -> int:
    """Fetch, measure, print the tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument(
        "--peers", type=Path, default=Path(".peers"), metavar="DIR", help="where they are unpacked"
    )
    parser.add_argument("--only", metavar="NAME", help="only systems of this name, and streamd")
    parser.add_argument("--fetch", action="store_true", help="only fetch them")
    options = parser.parse_args()
    peers: Path = options.peers.absolute()
    peers.mkdir(exist_ok=True)
    absent = {"debian": fetch.debian(peers), "wheels": fetch.wheels(peers), "here": None}
    if options.fetch:
        return 1 if any(absent.values()) else 0
    wanted = [
        system
        for system in SYSTEMS
        if (absent[system.source] is None and options.only in (None, system.name)) or system.source == "here"
    ]
    figures: dict[System, list[Figure]] = {system: [] for system in wanted}
    faults: dict[System, str] = {}
    prepared = {
        job: (json_lines if job == JSON else syslog_lines)(options.records) for job in {s.job for s in wanted}
    }
    for number in range(1, options.rounds + 1):
        for system in wanted:
            print(f"round {number} of {options.rounds}: {system.name}, {system.job}", file=sys.stderr)
            lines = prepared[system.job][: int(options.records * system.share)]
            try:
                figures[system].append(measure(system, lines, peers))
            except FailedRun as failed:
                faults[system] = str(failed)
                print(f"  {failed}", file=sys.stderr)
    _print(wanted, figures, faults, absent, options.records)
    return 1 if faults else 0


def _print(
    wanted: list[System],
    figures: dict[System, list[Figure]],
    faults: dict[System, str],
    absent: dict[str, str | None],
    records: int,
) -> None:
    machine = facts(Path.cwd())
    what = (
        machine["processor"],
        f"{machine['cores_usable']} cores",
        f"Linux {machine['kernel']}",
        machine["python"],
    )
    print(", ".join(what), end="\n\n")
    for job in dict.fromkeys(system.job for system in wanted):
        print(f"{records:,} {job}\n")
        print("| | records/s | CPU s/M | lowest to highest rate | what it does | what it does not |")
        print("|---|---|---|---|---|---|")
        for system in wanted:
            if system.job == job and (found := figures[system]):
                rates = [figure.rate for figure in found]
                name = system.name if system.share == 1 else f"{system.name} ({records * system.share:,.0f})"
                print(
                    f"| {name} | {statistics.median(rates):,.0f}"
                    f" | {statistics.median(figure.cpu_s_per_m for figure in found):.1f}"
                    f" | {min(rates):,.0f} to {max(rates):,.0f} | {system.does} | {system.does_not} |"
                )
        print()
    for system, why in faults.items():
        print(f"- {system.name}, {system.job}: no figure in every round: {why.splitlines()[0]}")
    for system in SYSTEMS:
        if why_not := absent[system.source]:
            print(f"- {system.name}, {system.job}: {why_not}")
    for name, why in NOT_HERE.items():
        print(f"- {name}: {why}")


if __name__ == "__main__":
    sys.exit(main())
