"""One replay at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamd.core.errors import EnvironmentFault


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only replay of the letters in `folder`: two would store everything twice.

    Raises `EnvironmentFault` where there is another one.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EnvironmentFault(f"another replay of the dead letters in {folder} is under way") from None
        yield
    finally:
        os.close(descriptor)
