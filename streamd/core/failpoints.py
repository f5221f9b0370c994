"""Injects faults on demand, for tests of a hung disk. Off unless the environment variable is set.

With `STREAMD_FAILPOINT=sqlite.commit:hang:10`, the first commit of data to each database hangs for ten
seconds. With `sqlite.commit@readings.db:hang:10`, only databases whose path ends with `readings.db` hang.
"""

import os
from pathlib import Path

VARIABLE = "STREAMD_FAILPOINT"


def hang_s(point: str, path: Path) -> float:
    """Seconds for which `point` has to hang for `path`; 0 without a fault."""
    where, _, fault = os.environ.get(VARIABLE, "").partition(":")
    name, _, suffix = where.partition("@")
    kind, _, seconds = fault.partition(":")
    if name != point or kind != "hang" or not str(path).endswith(suffix):
        return 0.0
    return float(seconds)
