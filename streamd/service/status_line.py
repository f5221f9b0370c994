"""The status of the daemon in one line: `received 41.2 M, lost 0, kernel 0, disk 12 d left`."""

from collections import deque

from streamd.core.books import Books

_DAY_S = 86400.0
_SHORTEST_S = 60.0
"""A shorter observation is no basis for an estimate in days."""
_LONGEST_S = 3600.0
_EVERY_S = 60.0
_FEW_DAYS = 10
_MOST_DAYS = 999


class DiskOutlook:
    """Estimates when the disk will be full, from its free space over the last hour.

    The estimate includes the writes of all programs.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()  # (monotonic seconds, bytes free), a minute apart
        self._now: tuple[float, int] = (0.0, 0)

    def observe(self, free_bytes: int, mono_s: float) -> None:
        """Enter the free space at this time."""
        self._now = mono_s, free_bytes
        if not self._seen or mono_s - self._seen[-1][0] >= _EVERY_S:
            self._seen.append(self._now)
        while mono_s - self._seen[0][0] > _LONGEST_S:
            self._seen.popleft()

    def days_left(self) -> float | None:
        """Days until the disk is full, or None in the first minute and while free space does not shrink."""
        if not self._seen:
            return None
        then_s, then_bytes = self._seen[0]
        now_s, free_bytes = self._now
        if now_s - then_s < _SHORTEST_S or then_bytes <= free_bytes:
            return None
        return free_bytes / (then_bytes - free_bytes) * (now_s - then_s) / _DAY_S


def status_line(books: Books, days_left: float | None) -> str:
    """The frames received, the losses after they were read, the kernel's drops before, and the disk."""
    received = sum(book.received for book in books.frames.values())
    kernel = sum(book.counters["kernel_dropped", ""] for book in books.frames.values())
    lost = sum(book.dropped.total() for book in books.every())
    line = f"received {short(received)}, lost {short(lost)}, kernel {short(kernel)}"
    if days_left is None or days_left > _MOST_DAYS:
        return line
    days = f"{days_left:.1f}" if days_left < _FEW_DAYS else f"{days_left:.0f}"
    return f"{line}, disk {days} d left"


def short(n: int) -> str:
    """`999`, `41.2 k`, `41.2 M`: truncated, not rounded, so that the text never exceeds the number."""
    for power, unit in ((4, "T"), (3, "G"), (2, "M"), (1, "k")):
        if n >= 1000**power:
            tenths = n * 10 // 1000**power
            return f"{tenths // 10}.{tenths % 10} {unit}"
    return str(n)
