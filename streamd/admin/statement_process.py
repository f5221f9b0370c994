"""The main program of the process of a statement, which prints the answer. It imports little, to start soon.

The process limits its own time and memory, so that it ends in time without the daemon too.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from enum import IntEnum
from pathlib import Path
from typing import Any

import msgspec

from streamd.admin import own_reads, rows
from streamd.core.errors import StreamdError
from streamd.sqlite.attached import open_schemas
from streamd.sqlite.read_only import QueryRefused, only_reading

_NICENESS = 5
"""While both want the processor, the daemon gets three times as much of it."""
_OOM_SCORE_ADJ = 500
"""If memory runs out, the kernel should kill this process and not the daemon."""


class ExitCode(IntEnum):
    """How a statement ended. Other codes mean that the program itself has failed."""

    ROWS = 0
    REFUSED = 64
    """The text is that of `QueryRefused`."""
    FAULT = 65
    """The text is that of another `StreamdError`."""


def main() -> None:
    """Answer the statement that standard input has."""
    asked = json.load(sys.stdin)
    signal.setitimer(signal.ITIMER_REAL, asked["limit_s"])  # SIGALRM ends the process in any function
    with suppress(OSError):  # a unit may forbid the call (SystemCallFilter=~@resources)
        os.nice(_NICENESS)
    with suppress(OSError), Path("/proc/self/oom_score_adj").open("w") as score:
        score.write(str(_OOM_SCORE_ADJ))
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_least(asked["memory_bytes"], most), most))
    files = {name: Path(path) for name, path in asked["files"].items()}
    try:
        text, code = _answer(files, asked), ExitCode.ROWS
    except QueryRefused as refused:
        text, code = str(refused).encode(errors="replace"), ExitCode.REFUSED
    except StreamdError as error:
        text, code = str(error).encode(errors="replace"), ExitCode.FAULT
    sys.stdout.buffer.write(text)
    sys.stdout.flush()
    sys.exit(code)


def _answer(files: Mapping[str, Path], asked: Mapping[str, Any]) -> bytes:
    with closing(open_schemas(files, in_memory=True).connection) as connection, only_reading(connection):
        if "read" in asked:
            return msgspec.json.encode(own_reads.READS[asked["read"]](connection, asked["argument"])) + b"\n"
        cursor = connection.execute(asked["sql"])
        if cursor.description is None:
            raise QueryRefused("the statement is no SELECT")
        return msgspec.json.encode(rows.table(cursor, asked["limit"])) + b"\n"


def _least(wanted: int, most: int) -> int:
    return wanted if most == resource.RLIM_INFINITY else min(wanted, most)
