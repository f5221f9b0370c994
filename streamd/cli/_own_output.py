"""Reserves standard output for the report of a command that runs the user's steps."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def own_output() -> Iterator[TextIO]:
    """The reserved standard output. Output of steps goes to standard error."""
    sys.stdout.flush()
    fd = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(
            fd, "w", encoding=sys.stdout.encoding, errors="backslashreplace", closefd=False
        ) as out:
            yield out
    finally:
        sys.stdout.flush()
        os.dup2(fd, 1)
        os.close(fd)
