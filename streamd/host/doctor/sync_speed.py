"""Measures how long the disk takes to sync written data."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from streamd.config import Loaded
from streamd.host.doctor.finding import Finding
from streamd.host.doctor.host import Host

CHECK = "sync_speed"
_PAGES = b"\0" * (4 * 4096)
_LONGEST_S = 1.0
_MOST = 100
_SLOW_S = 0.05
"""Slower syncs delay every commit noticeably."""


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """Measure in an unnamed file in the state folder, for at most about a second."""
    del host
    waits = {
        name: sink.batch.max_wait
        for name, sink in loaded.config.sinks.items()
        if getattr(sink, "synchronous", "") == "full"
    }
    if not loaded.state_dir.is_dir():
        yield Finding("unknown", CHECK, f"{loaded.state_dir} does not exist yet: nothing was measured")
        return
    try:
        sync_s = measure(loaded.state_dir)
    except OSError as error:
        yield Finding("unknown", CHECK, f"{loaded.state_dir} cannot be written here: {error.strerror}")
        return
    yield judge(sync_s, waits)


def measure(folder: Path) -> float:
    """Median seconds to write and sync four pages. Raises `OSError`."""
    taken_s: list[float] = []
    end_s = time.monotonic() + _LONGEST_S
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        while len(taken_s) < _MOST and time.monotonic() < end_s:
            begin_s = time.perf_counter()
            file.write(_PAGES)
            os.fdatasync(file.fileno())
            taken_s.append(time.perf_counter() - begin_s)
    return median(taken_s)


def judge(sync_s: float, waits: dict[str, float]) -> Finding:
    """Judge the sync time. `waits` has the `max_wait` in seconds of each sink with `synchronous = "full"`."""
    text = f"the disk syncs 16 KiB in {sync_s * 1000:.3g} ms (median)"
    held_up = [name for name, max_wait_s in waits.items() if sync_s > max_wait_s]
    if held_up:
        name = held_up[0]
        return Finding(
            "problem",
            CHECK,
            f"{text}, but sinks.{name} syncs each commit and should commit every {waits[name] * 1000:.3g} ms",
        )
    if sync_s > _SLOW_S:
        return Finding(
            "advice", CHECK, f"{text}, more than {_SLOW_S * 1000:.0f} ms: every commit may take that long"
        )
    return Finding("fine", CHECK, text)
