"""Standard output of steps and libraries that call `print`."""

import io
import sys


def flush_each_line() -> None:
    """Flush standard output after each line, also into a pipe or the journal."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
