"""Deletes the files of a Parquet sink that are too old or too large together. Blocks."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from pyarrow import ArrowException, parquet

from streamd.core.counters import Counters
from streamd.parquet.places import Places

log = structlog.get_logger()


class FileRetention:
    """Deletes files whole, oldest first. The newest file is never deleted because of the size.

    The age of a file is counted from the time in its name. Counts `expired`, the rows of deleted files.
    """

    def __init__(
        self,
        places: Places,
        counters: Counters,
        *,
        max_age_s: float | None,
        max_bytes: int | None,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._places = places
        self._counters = counters
        self._max_age_s = max_age_s
        self._max_bytes = max_bytes
        self._wall_s = wall_s

    def step(self) -> None:
        """Delete what is too much now. Raises `OSError`."""
        there = sorted(
            (made_at_s, path)
            for path in self._places.files()
            if (made_at_s := self._places.made_at_s(path)) is not None
        )
        sizes_bytes = {path: _size_bytes(path) for _, path in there}
        total_bytes = sum(sizes_bytes.values())
        now_s = self._wall_s()
        for place, (made_at_s, path) in enumerate(there):
            old = self._max_age_s is not None and made_at_s < now_s - self._max_age_s
            large = self._max_bytes is not None and total_bytes > self._max_bytes and place < len(there) - 1
            if not old and not large:
                break
            self._remove(path)
            total_bytes -= sizes_bytes[path]

    def _remove(self, path: Path) -> None:
        rows = _rows(path)
        path.unlink(missing_ok=True)
        self._counters.add("expired", rows)
        log.info("file_expired", path=str(path), rows=rows)
        for folder in path.parents:
            if folder == self._places.base:
                break
            try:
                folder.rmdir()
            except OSError:  # it holds other files
                break


def _size_bytes(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _rows(path: Path) -> int:
    """The rows of a file as its footer states them; 0 if another program has damaged the file."""
    with contextlib.suppress(ArrowException, OSError):
        return int(parquet.read_metadata(path).num_rows)
    return 0
