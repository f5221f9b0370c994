"""Faults on demand: a test from outside can show what a hung disk does. Off unless the variable is set.

`STREAMD_FAILPOINT=sqlite.commit:hang:10` makes the first commit of data to each database hang for ten
seconds; `sqlite.commit@readings.db:hang:10` only where the database's path ends so.
"""

import os
from pathlib import Path

VARIABLE = "STREAMD_FAILPOINT"


def hang_s(point: str, path: Path) -> float:
    """Seconds that `point` shall hang for `path`; 0 where nothing is asked."""
    where, _, fault = os.environ.get(VARIABLE, "").partition(":")
    name, _, suffix = where.partition("@")
    kind, _, seconds = fault.partition(":")
    if name != point or kind != "hang" or not str(path).endswith(suffix):
        return 0.0
    return float(seconds)
