"""The lock that allows one replay at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamd.core.errors import EnvironmentFault


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock for a replay of the letters in `folder`. Two replays would store each record twice.

    Raises `EnvironmentFault` if another replay holds it.
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
