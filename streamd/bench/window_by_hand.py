"""Baseline: windows as a plain Python loop over the same records, with the same rows at the end.

It has what a program for one purpose needs and no more: windows of one length, one delay, one field, times
that are all texts or all numbers. It makes no checks, and it has no idle keys, bound of keys or snapshot.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from streamd.core.batch import Record


class ByHand:
    """Count, mean, least and greatest value of tumbling windows; the times of each key close its windows."""

    def __init__(self, size_s: int, delay_s: int, *, texts: bool) -> None:
        """`delay_s`: at most `size_s`. `texts`: times are ISO 8601 texts instead of seconds since 1970."""
        self.size_s = size_s
        self.delay_s = delay_s
        self.texts = texts
        self.keys: dict[str, list[Any]] = {}
        """Of each key: start, count, sum, least and greatest of the newest window, the greatest time, and the
        window before while it is open. With a delay of at most one window, no third one is open."""

    def add(self, records: Sequence[Record]) -> list[Record]:
        """Add records; returns the rows of the windows that close."""
        rows: list[Record] = []
        keys, size, delay, texts = self.keys, self.size_s, self.delay_s, self.texts
        parse = datetime.fromisoformat
        for record in records:
            key, at, value = record["sensor"], record["ts"], record["value"]
            if texts:
                at = parse(at).timestamp()
            newest: Any = keys.get(key)
            window = newest
            if newest is None:
                keys[key] = [at // size * size, 1, value, value, value, at, None]
                continue
            if not 0 <= at - newest[0] < size:
                window = self._other(key, newest, at, value, rows)
                if window is None:
                    continue
            window[1] += 1
            window[2] += value
            if value < window[3]:
                window[3] = value
            elif value > window[4]:
                window[4] = value
            if at > newest[5]:
                newest[5] = at
                before = newest[6]
                if before is not None and at - delay >= before[0] + size:
                    rows.append(self._row(key, before))
                    newest[6] = None
        return rows

    def _other(self, key: str, newest: list[Any], at: float, value: float, rows: list[Record]) -> Any:
        """The window before, if it is open and has records; else None, and the record is done."""
        start = at // self.size_s * self.size_s
        if start > newest[0]:
            if newest[6] is not None:
                rows.append(self._row(key, newest[6]))
                newest[6] = None
            if at >= newest[0] + self.size_s + self.delay_s:
                rows.append(self._row(key, newest))
            else:
                newest[6] = newest[:5]
            newest[:6] = start, 1, value, value, value, at
        elif start + self.size_s > newest[5] - self.delay_s:  # else it is late
            if newest[6] is not None:
                return newest[6]
            newest[6] = [start, 1, value, value, value]
        return None

    def _row(self, key: str, window: list[Any]) -> Record:
        start, count, total, least, greatest = window[:5]
        return {
            "sensor": key,
            "window_start": _text(start),
            "window_end": _text(start + self.size_s),
            "n": count,
            "mean": total / count,
            "low": least,
            "high": greatest,
        }


def _remembered(make: Callable[[float], str]) -> Callable[[float], str]:
    """As `make`, which is called once for each different value: all keys share the bounds of windows."""
    texts: dict[float, str] = {}

    def text(at_s: float) -> str:
        found = texts.get(at_s)
        if found is None:
            found = texts[at_s] = make(at_s)
        return found

    return text


@_remembered
def _text(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
