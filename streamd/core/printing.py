"""What a step or a library prints with `print`."""

import io
import sys


def print_at_once() -> None:
    """Let each printed line leave this process when it is complete, also into a pipe or the journal."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
