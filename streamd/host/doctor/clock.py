"""Whether the clock can be believed: received_at, retention and the ledger go by it."""

import ctypes
import time
from collections.abc import Iterator

from streamd.config import Loaded
from streamd.host.doctor.finding import Finding
from streamd.host.doctor.host import Host
from streamd.host.rehearsal import outputs

CHECK = "clock"
_TIMEX_BYTES = 512
"""More than struct timex has on any architecture. All zero it asks and changes nothing."""
_TIME_ERROR = 5
_MOST_AHEAD_S = 60.0
_PASTE = ("timedatectl set-ntp true    # or install chrony",)


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """Whether it is synchronised, and whether files were written later than now."""
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
    """`state` as adjtimex(2) returns it; None where it may not be asked."""
    if state is None:
        return Finding("unknown", CHECK, "whether the clock is synchronised cannot be asked here")
    if state == _TIME_ERROR:
        return Finding("advice", CHECK, "the kernel calls the clock not synchronised", _PASTE)
    return Finding("fine", CHECK, "the kernel calls the clock synchronised")


def judge_jump(owner: str, ahead_s: float) -> Finding | None:
    """Whether what `owner` wrote last lies in the future by more than a moment."""
    if ahead_s <= _MOST_AHEAD_S:
        return None
    return Finding(
        "problem",
        CHECK,
        f"{owner} was written {ahead_s:,.0f} s later than now: the clock went back, and times overlap",
        _PASTE,
    )


def _state() -> int | None:
    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return state if state >= 0 else None
