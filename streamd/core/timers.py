"""Due times by key."""

from heapq import heappop, heappush

from streamd.core.record_key import Key

_STALE = 64
"""Number of entries of changed timers that may always wait in the heap."""


class Timers:
    """One due time for each key, in the order in which they are due.

    `set` costs about 0.5 µs. A changed timer leaves its old entry in the heap; when more than half of the
    heap are such entries, it is made anew. A timer takes about 250 bytes beside its key.
    """

    __slots__ = ("_due", "_heap", "_order")

    def __init__(self) -> None:
        self._due: dict[Key, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = 0
        """Timers of one time are due in the order in which they were set."""

    def set(self, key: Key, at_s: float) -> None:
        """Set the timer of the key, or move it."""
        self._order += 1
        self._due[key] = at_s, self._order
        heappush(self._heap, (at_s, self._order, key))
        if len(self._heap) > 2 * len(self._due) + _STALE:
            self._heap = sorted((*due, key) for key, due in self._due.items())

    def cancel(self, key: Key) -> None:
        """Remove the timer of the key, if there is one."""
        self._due.pop(key, None)

    def first_s(self) -> float | None:
        """The earliest due time; None if no timer is set."""
        heap, due = self._heap, self._due
        while heap:
            at_s, order, key = heap[0]
            if due.get(key) == (at_s, order):
                return at_s
            heappop(heap)
        return None

    def pop(self, at_s: float) -> Key | None:
        """The key of the earliest timer, which is removed; None if none is due at `at_s`."""
        first_s = self.first_s()
        if first_s is None or first_s > at_s:
            return None
        key = heappop(self._heap)[2]
        del self._due[key]
        return key

    def __contains__(self, key: Key) -> bool:
        return key in self._due

    def items(self) -> list[tuple[Key, float]]:
        """All timers in the order in which they are due."""
        return [(key, at_s) for at_s, _, key in sorted((*due, key) for key, due in self._due.items())]
