"""The numbers of the last ten minutes, one sample a second, in memory of a fixed size."""

import math
from array import array
from collections import deque
from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec

from streamd.admin.view import StageGauge, View
from streamd.core.books import FrameBook

SAMPLES = 600
INTERVAL_S = 1.0
MOST_SERIES = 500
"""A series takes 5 KiB, so all of them take at most 2.4 MiB. The others are counted, but not kept."""

_NONE = math.nan
_ENCODE = msgspec.json.Encoder().encode

Owner = Literal["source", "pipeline", "sink", "stage", "dead_letters"]
Kind = Literal["counter", "gauge"]

_OWNERS: dict[str, Owner] = {"frames": "source", "records": "pipeline", "deliveries": "sink"}
"""The last key of the books of each unit."""


_LOSSES = frozenset({"dropped", "rejected", "kernel_dropped"})


class SeriesKey(NamedTuple):
    """What a series shows: `of` is the number, and `reason` is empty if the number has no reasons."""

    kind: Owner
    name: str
    of: str
    reason: str = ""


class KeptSeries(NamedTuple):
    """One series of a cut, oldest value first. NaN stands for a second in which the number did not exist."""

    key: SeriesKey
    type: Kind
    values: "array[float]"


class Cut(NamedTuple):
    """The newest samples. `left_out` is the number of series beyond `MOST_SERIES`."""

    seq: int
    at_wall_s: list[float]
    series: list[KeptSeries]
    left_out: int


class History:
    """A ring of samples for each number of the books, the buffers and the stages.

    A counter that did not exist in the sample before was 0 then. A series whose number has not existed for
    the whole ring is removed. If there are more than `MOST_SERIES`, losses and rejections are kept before the
    other terms of the books, and these before buffers and stages.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._times: deque[tuple[int, float]] = deque(maxlen=SAMPLES)
        self._rings: dict[SeriesKey, array[float]] = {}
        self._kinds: dict[SeriesKey, Kind] = {}
        self._seen_at: dict[SeriesKey, int] = {}
        self._taken = 0
        self._left_out: dict[SeriesKey, float] = {}
        """The numbers of the newest sample that are not kept."""
        self._stages: dict[tuple[str, str], StageGauge] = {}

    def observe(self, wall_s: float, seq: int) -> None:
        """Take the sample of the second `seq`. Further calls within the second are ignored."""
        if self._times and seq <= self._times[-1][0]:
            return
        self._view.refresh()
        place, before = self._taken % SAMPLES, (self._taken - 1) % SAMPLES
        for ring in self._rings.values():
            ring[place] = _NONE
        left_out: dict[SeriesKey, float] = {}
        for key, (kind, value) in sorted(self._sample().items(), key=_rank_of_item):
            if key not in self._rings:
                if len(self._rings) >= MOST_SERIES and not self._make_room(_rank(key)):
                    left_out[key] = value
                    continue
                self._rings[key] = array("d", [_NONE]) * SAMPLES
                self._kinds[key] = kind
            ring = self._rings[key]
            if kind == "counter" and self._taken and math.isnan(ring[before]):
                ring[before] = self._left_out.get(key, 0.0)  # so that a total is not taken for growth
            ring[place] = value
            self._seen_at[key] = self._taken
        self._left_out = left_out
        self._times.append((seq, round(wall_s, 3)))
        self._taken += 1
        for key in [key for key, seen_at in self._seen_at.items() if self._taken - seen_at > SAMPLES]:
            self._remove(key)

    def cut(self, *, samples: int = SAMPLES, since: int = -1) -> Cut:
        """A copy of the newest samples: at most `samples`, and only those after the second `since`."""
        times = [at for at in list(self._times)[-samples:] if at[0] > since] if samples else []
        n, end = len(times), self._taken % SAMPLES
        begin = end - n
        return Cut(
            self._times[-1][0] if self._times else -1,
            [wall_s for _, wall_s in times],
            [
                KeptSeries(
                    key, self._kinds[key], ring[begin:end] if begin >= 0 else ring[begin:] + ring[:end]
                )
                for key, ring in self._rings.items()
            ],
            len(self._left_out),
        )

    def _make_room(self, rank: int) -> bool:
        """Remove the newest series of those that matter least, if it matters less than `rank`."""
        least = max(reversed(self._rings), key=_rank)
        if _rank(least) <= rank:
            return False
        self._remove(least)
        return True

    def _remove(self, key: SeriesKey) -> None:
        del self._rings[key], self._kinds[key], self._seen_at[key]

    def _sample(self) -> dict[SeriesKey, tuple[Kind, float]]:
        """Every number now. Numbers of several books with the same key are added up."""
        found: dict[SeriesKey, tuple[Kind, float]] = {}
        for key, kind, n in self._counts():
            found[key] = kind, found[key][1] + n if key in found else n
        for key, value in self._gauges():
            found[key] = "gauge", value
        return found

    def _counts(self) -> Iterator[tuple[SeriesKey, Kind, float]]:
        """Every term of every book except the derived ones, and the datagrams that the kernel dropped."""
        for book in self._view.books.every():
            owner, name = _OWNERS[book.unit], book.place[-1]
            for term in book.terms:
                if term.side == "left":
                    continue
                kind: Kind = "gauge" if term.gauge else "counter"
                if term.by:
                    for reason, n in getattr(book, term.attribute).items():
                        yield SeriesKey(owner, name, term.name, reason), kind, n
                else:
                    yield SeriesKey(owner, name, term.name), kind, book.total(term)
            if isinstance(book, FrameBook) and ("kernel_dropped", "") in book.counters:
                yield SeriesKey(owner, name, "kernel_dropped"), "counter", book.counters["kernel_dropped", ""]
        for fate, n in self._view.dead_letters.items():
            yield SeriesKey("dead_letters", "", fate), "counter", n

    def _gauges(self) -> Iterator[tuple[SeriesKey, float]]:
        for buffer in self._view.buffers():
            yield SeriesKey(buffer.kind, buffer.name, "buffer_records"), buffer.records
            yield SeriesKey(buffer.kind, buffer.name, "buffer_bytes"), buffer.size_bytes
        for sink in self._view.sinks():
            yield SeriesKey("sink", sink.name, "retrying"), sink.trouble is not None
        yield from self._shares()

    def _shares(self) -> Iterator[tuple[SeriesKey, float]]:
        """The shares of the time since the previous sample in which each stage was busy and blocked."""
        before, self._stages = self._stages, {}
        for stage in self._view.stages():
            place = stage.kind, stage.name
            self._stages[place] = stage
            earlier = before.get(place)
            if earlier is None or earlier.elapsed_s >= stage.elapsed_s:  # it is new, or a reload replaced it
                continue
            elapsed_s = stage.elapsed_s - earlier.elapsed_s
            name = f"{stage.kind} {stage.name}"
            yield SeriesKey("stage", name, "busy"), round((stage.busy_s - earlier.busy_s) / elapsed_s, 4)
            yield (
                SeriesKey("stage", name, "blocked"),
                round((stage.blocked_s - earlier.blocked_s) / elapsed_s, 4),
            )


def _rank(key: SeriesKey) -> int:
    """How soon a series is left out: 0 last of all."""
    if key.kind == "dead_letters" or key.of in _LOSSES:
        return 0
    if key.kind == "stage" or key.of == "buffer_bytes":
        return 4
    if key.of in ("buffer_records", "retrying"):
        return 3
    return 2 if key.kind == "source" else 1


def _rank_of_item(item: tuple[SeriesKey, tuple[Kind, float]]) -> int:
    return _rank(item[0])


def as_json(cut: Cut) -> bytes:
    """The cut as the document of `/history`. It may run in a thread, because the cut is a copy."""
    series = b",".join(
        b'{"kind":%b,"name":%b,"of":%b,"reason":%b,"type":%b,"values":%b}'
        % (*map(_ENCODE, key), _ENCODE(kind), _ENCODE(values.tolist()))  # NaN becomes null
        for key, kind, values in cut.series
    )
    return b'{"seq":%d,"interval_s":%b,"at_wall_s":%b,"left_out":%d,"series":[%b]}\n' % (
        cut.seq, _ENCODE(INTERVAL_S), _ENCODE(cut.at_wall_s), cut.left_out, series,
    )  # fmt: skip
