"""Checks the host's clock, on which received_at, retention and the ledger depend."""

import ctypes
import time
from collections.abc import Iterator

from streamd.config import Loaded
from streamd.host.doctor.finding import Finding
from streamd.host.doctor.host import Host
from streamd.host.rehearsal import outputs

CHECK = "clock"
_TIMEX_BYTES = 512
"""More than the size of struct timex on any architecture. Filled with zeros, it only queries the state."""
_TIME_ERROR = 5
_MOST_AHEAD_S = 60.0
_PASTE = ("timedatectl set-ntp true    # or install chrony",)


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """Findings on the synchronisation, and on files whose modification time is in the future."""
    del host
    yield judge_state(_state())
    now_s = time.time()
    for owner, path in outputs(loaded):
        try:
            written_s = path.stat().st_mtime
        except OSError:
            continue
        if (finding := judge_jump(owner, written_s - now_s)) is not None:
            yield finding


def judge_state(state: int | None) -> Finding:
    """Judge `state`, the return value of adjtimex(2), or None if it is not available."""
    if state is None:
        return Finding("unknown", CHECK, "the kernel does not report here whether the clock is synchronised")
    if state == _TIME_ERROR:
        return Finding("advice", CHECK, "the clock is not synchronised, according to the kernel", _PASTE)
    return Finding("fine", CHECK, "the clock is synchronised, according to the kernel")


def judge_jump(owner: str, ahead_s: float) -> Finding | None:
    """A finding if the last write of `owner` is more than a minute in the future, else None."""
    if ahead_s <= _MOST_AHEAD_S:
        return None
    return Finding(
        "problem",
        CHECK,
        f"{owner} was written {ahead_s:,.0f} s in the future: the clock was set back, and times overlap",
        _PASTE,
    )


def _state() -> int | None:
    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return state if state >= 0 else None
