"""Ends processes of edges, servers and workers under load, and compares the results: `make evaluate-scale`.

Two edges read a growing file each, three NATS servers keep what they send, three workers store it in
PostgreSQL, with windows. An edge, a worker and the leader of the stream are killed, and a worker is stopped
for a minute and continued. Then one machine reads the same files into SQLite, and both databases must have
the same rows. The exit code is 1 if a row differs.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from streamd.bench.postgresql_server import TemporaryPostgresql
from tests.evaluation.page import with_block
from tests.evaluation.scale.trial import Outcome, Trial

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "scale.md"
_SERVER = ("fsync = off", "shared_buffers = 128MB", "max_wal_size = 4GB")


def main() -> int:
    """Run one trial, print its tables and perhaps write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=1_000_000, metavar="N", help="readings of all edges")
    parser.add_argument("--takeover", type=float, default=5.0, metavar="S", help="takeover of the workers")
    parser.add_argument("--hang", type=float, default=60.0, metavar="S", help="how long a worker is stopped")
    parser.add_argument("--write", action="store_true", help="write the tables into the page")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="streamd-scale-"))
    try:
        (folder / "work").mkdir()
        database = Path(tempfile.mkdtemp(prefix="streamd-scale-pg-"))
        with (
            TemporaryPostgresql(database, *_SERVER) as server,
            Trial(
                folder / "work", server, "postgres", options.records, options.takeover, options.hang
            ) as trial,
        ):
            outcome = trial.run()
    except BaseException:
        sys.stderr.write(f"what the daemons said is in {folder}\n")
        raise
    finally:
        shutil.rmtree(database, ignore_errors=True)
    shutil.rmtree(folder)
    lines = tables(outcome)
    sys.stdout.write("\n".join(lines) + "\n")
    if options.write:
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(with_block(text, "trial", lines), encoding="utf-8")
    return 0 if outcome.is_exact else 1


def tables(outcome: Outcome) -> list[str]:
    """What happened, and what came of it, in Markdown."""
    events = [
        f"| {event.what} | {event.at_rows:,} | {event.longest_stall_s:.1f} s |" for event in outcome.events
    ]
    counts = [f"{name.replace('_', ' ')} {number:,}" for name, number in sorted(outcome.counts.items())]
    return [
        f"{outcome.expected_rows:,} readings in {outcome.seconds:.0f} s, all on {os.cpu_count()} processors:",
        "",
        "| what was done | rows stored before | longest time without a new row |",
        "|---|---|---|",
        *events,
        "",
        "| | expected | PostgreSQL |",
        "|---|---|---|",
        f"| readings | {outcome.expected_rows:,} | {outcome.rows:,} |",
        f"| windows | {outcome.expected_windows:,} | {outcome.windows:,} |",
        f"| rows that differ from those of one machine in SQLite | 0 | {outcome.differing:,} |",
        "",
        f"All daemons together counted: {', '.join(counts)}.",
    ]


if __name__ == "__main__":
    sys.exit(main())
