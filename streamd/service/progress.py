"""Detects stalled parts of the daemon, for the watchdog."""

from collections.abc import Iterable
from typing import NamedTuple


class Part(NamedTuple):
    """One part of the daemon at one moment. `name` is the kind and name of its table in the configuration."""

    name: str
    doing: str
    """Its work in words: `a commit has been under way`."""
    due: bool
    """It has work, no other part blocks it, and a restart could help."""
    state: object
    """Any value that changes with every progress."""
    patience_s: float
    """How long it may make no progress."""


class Progress:
    """Measures how long due parts have made no progress."""

    def __init__(self, longest_gap_s: float) -> None:
        """Of a gap between two observations, at most `longest_gap_s` count as time without progress.

        A longer gap means a stopped process or a late loop, not a stalled disk.
        """
        self._longest_gap_s = longest_gap_s
        self._seen_mono_s: float | None = None
        self._still: dict[str, tuple[object, float]] = {}  # name → (state, seconds it has been that)

    def observe(self, parts: Iterable[Part], mono_s: float) -> list[str]:
        """One line for each part without progress for longer than its patience."""
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
