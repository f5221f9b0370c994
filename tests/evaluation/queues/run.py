"""Compares the queue model with real daemons: `make evaluate-queues`.

Each drive starts a daemon on 127.0.0.1 and takes 16 to 170 seconds. What was seen is kept in build/queues;
--only REGEX drives again those that match, and the tables and pictures are made of all that is kept.
--simulated prints the tables of bursts on a machine that is never late, which takes no time of the clock.
"""

import argparse
import json
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.evaluation.queues import page, pictures
from tests.evaluation.queues.driven import Drive, Seen, drive
from tests.evaluation.queues.drives import all_drives
from tests.evaluation.queues.simulated import simulate

KEPT = Path("build/queues")


def main() -> int:
    """Drive, print and perhaps write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="REGEX", help="drives to run")
    parser.add_argument("--none", action="store_true", help="run no drive")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="drives at the same time")
    parser.add_argument("--simulated", action="store_true", help="simulate the bursts, write nothing")
    parser.add_argument("--write", action="store_true", help="write the page and its pictures")
    options = parser.parse_args()
    if options.simulated:
        bursts = [simulate(one) for one in all_drives() if re.search(options.only or "^bursts", one.name)]
        tables = page.blocks(bursts)
        for title in ("bursts", "fresh bursts", "loss"):
            print(f"\n{title}\n", *tables[title], sep="\n")
        return 0
    KEPT.mkdir(parents=True, exist_ok=True)
    chosen = [] if options.none else [one for one in all_drives() if re.search(options.only, one.name)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        for done in pool.map(lambda one: drive(one, Path(folder) / _file(one)), chosen):
            (KEPT / f"{_file(done)}.json").write_text(json.dumps(done.seen))
            print(f"{done.name}: {len(done.seen)} looks", flush=True)
    drives = [one for one in all_drives() if (KEPT / f"{_file(one)}.json").exists()]
    for one in drives:
        kept = json.loads((KEPT / f"{_file(one)}.json").read_text())
        one.seen = [seen for looks in kept if (seen := Seen(*looks)).outlook]
    for title, lines in page.blocks(drives).items():
        print(f"\n{title}\n", *lines, sep="\n")
        if options.write:
            page.write(title, lines)
    if options.write:
        pictures.draw(drives)
    return 0


def _file(one: Drive) -> str:
    return re.sub(r"[^\w.]+", "-", one.name)


if __name__ == "__main__":
    sys.exit(main())
