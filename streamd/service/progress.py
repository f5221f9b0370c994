"""Whether the parts of the daemon that have something to do get on with it: what the watchdog is fed by."""

from collections.abc import Iterable
from typing import NamedTuple


class Part(NamedTuple):
    """One part as it is now, told by its name in `[…]` of the configuration."""

    name: str
    doing: str
    """What it has to do, for people: `commit under way`."""
    due: bool
    """It has something to do and can do it: nobody else holds it up, and a restart could help."""
    state: object
    """What differs from the last time as soon as anything was done."""
    patience_s: float
    """How long it may stand still."""


class Progress:
    """Watches what is due. Time in which nobody looked is no time in which a part stood still: a process
    that was stopped, or a loop that was late, says nothing about a disk.
    """

    def __init__(self, longest_gap_s: float) -> None:
        self._longest_gap_s = longest_gap_s
        self._seen_mono_s: float | None = None
        self._still: dict[str, tuple[object, float]] = {}  # name → (state, seconds it has been that)

    def observe(self, parts: Iterable[Part], mono_s: float) -> list[str]:
        """Who has stood still for too long, one short line each; none where all is well."""
        gap_s = 0.0 if self._seen_mono_s is None else min(mono_s - self._seen_mono_s, self._longest_gap_s)
        self._seen_mono_s = mono_s
        before, self._still = self._still, {}
        stalled = []
        for part in parts:
            if not part.due:
                continue
            state, still_s = before.get(part.name, (None, 0.0))
            still_s = still_s + gap_s if state == part.state else 0.0
            self._still[part.name] = part.state, still_s
            if still_s > part.patience_s:
                stalled.append(f"{part.name}: {part.doing} for {still_s:.0f} s")
        return stalled
