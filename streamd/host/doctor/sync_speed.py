"""How long the disk takes to keep what was written."""

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
"""Beyond it a commit that waits for the disk shows in the latency of everything."""


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """Write into the state folder, in a file without a name, for about a second at most."""
    del host
    waits = {
        name: sink.batch.max_wait
        for name, sink in loaded.config.sinks.items()
        if getattr(sink, "synchronous", "") == "full"
    }
    if not loaded.state_dir.is_dir():
        yield Finding("unknown", CHECK, f"{loaded.state_dir} is not there yet: nothing was measured")
        return
    try:
        sync_s = measure(loaded.state_dir)
    except OSError as error:
        yield Finding("unknown", CHECK, f"{loaded.state_dir} cannot be written here: {error.strerror}")
        return
    yield judge(sync_s, waits)


def measure(folder: Path) -> float:
    """Median seconds of writing four pages and waiting for the disk. Raises `OSError`."""
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
    """`waits`: the `max_wait` in seconds of each sink that is `synchronous = "full"`."""
    text = f"the disk keeps 16 KiB in {sync_s * 1000:.3g} ms (median)"
    held_up = [name for name, max_wait_s in waits.items() if sync_s > max_wait_s]
    if held_up:
        name = held_up[0]
        return Finding(
            "problem",
            CHECK,
            f"{text}, sinks.{name} waits for that and means to commit every {waits[name] * 1000:.3g} ms",
        )
    if sync_s > _SLOW_S:
        return Finding("advice", CHECK, f"{text}, {_SLOW_S * 1000:.0f} ms are slow: every commit may wait so")
    return Finding("fine", CHECK, text)
