"""Watermarks: one for each key, for each sender, or for the pipeline.

A watermark is the greatest time of its timeline minus the delay; it never goes back. All windows that end up
to it are closed. A timeline on which no record came for a time falls idle: then it no longer holds others
back, and its watermark moves to the end of its newest open window, but not to the present, so that a device
which returns with a backlog is not late.
"""

import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from streamd.windows.keyed import Closed, Keyed, Kind
from streamd.windows.moments import NEVER, US

LEAST_IDLE_S = 30.0
"""Without a given time, a timeline is not idle before."""


class Seen(Protocol):
    """What may fall idle: a key or a timeline."""

    seen_s: float
    is_queued: bool


T = TypeVar("T", bound=Seen)


class IdleQueue(Generic[T]):
    """Knows which timelines had no record for `timeout_s`. An entry is looked at again when it is due.

    Without `timeout_s` a timeline is idle from `over_s`, and after `LEAST_IDLE_S`.
    """

    def __init__(self, timeout_s: float | None, over_s: Callable[[T], float]) -> None:
        self._timeout_s = LEAST_IDLE_S if timeout_s is None else timeout_s
        self._over_s = over_s if timeout_s is None else None
        self._heap: list[tuple[float, int, T]] = []
        self._count = 0

    def add(self, one: T) -> None:
        """Wait for the timeline to fall idle. It must not be in the queue."""
        one.is_queued = True
        self._count += 1
        heapq.heappush(self._heap, (one.seen_s + self._timeout_s, self._count, one))

    def next_due(self) -> float | None:
        """When the next timeline has to be looked at (monotonic)."""
        return self._heap[0][0] if self._heap else None

    def take(self, mono_s: float) -> T | None:
        """A timeline that is idle now; None if there is none."""
        while self._heap and self._heap[0][0] <= mono_s:
            one = heapq.heappop(self._heap)[2]
            due_s = one.seen_s + self._timeout_s
            if due_s <= mono_s and self._over_s is not None:
                due_s = max(due_s, self._over_s(one))
            if due_s <= mono_s:
                one.is_queued = False
                return one
            self._count += 1
            heapq.heappush(self._heap, (due_s, self._count, one))
        return None


class Clock(ABC):
    """Moves the watermarks of keys."""

    @abstractmethod
    def watermark(self, keyed: Keyed, sender: str) -> int:
        """The watermark of a key before the next record of the sender."""

    @abstractmethod
    def advance(
        self, keyed: Keyed, sender: str, moment_us: int, mono_s: float, *, late: bool = False
    ) -> list[Closed]:
        """Note a record that was added to the key's windows, or was late; returns the windows it closes."""

    @abstractmethod
    def next_due(self) -> float | None:
        """When a timeline may fall idle (monotonic); None if none has an open window."""

    @abstractmethod
    def idle(self, mono_s: float) -> list[Closed] | None:
        """The windows that close because one timeline is idle; None if no further one is."""

    @abstractmethod
    def begin(self, every: Iterable[Keyed], mono_s: float) -> None:
        """Continue with restored keys. All timelines count as seen now."""


class KeyClock(Clock):
    """Each key has its own watermark."""

    def __init__(self, kind: Kind, delay_us: int, idle_s: float | None) -> None:
        self._kind = kind
        self._delay_us = delay_us
        self._queue = IdleQueue[Keyed](idle_s, self._over_s)

    def _over_s(self, keyed: Keyed) -> float:
        return keyed.moved_s + (self._kind.newest_end(keyed) - keyed.watermark_us) / US

    def watermark(self, keyed: Keyed, sender: str) -> int:
        return keyed.watermark_us

    def wait(self, keyed: Keyed) -> None:
        """Wait for the key to fall idle. It must not be waited for already."""
        self._queue.add(keyed)

    def advance(
        self, keyed: Keyed, sender: str, moment_us: int, mono_s: float, *, late: bool = False
    ) -> list[Closed]:
        keyed.seen_s = mono_s
        if not keyed.is_queued and keyed.buckets:
            self.wait(keyed)
        watermark_us = moment_us - self._delay_us
        if watermark_us <= keyed.watermark_us:
            self._kind.hurry(keyed)
            return []
        keyed.moved_s = mono_s
        closed = self._kind.close(keyed, watermark_us)
        self._kind.hurry(keyed)
        return closed

    def next_due(self) -> float | None:
        return self._queue.next_due()

    def idle(self, mono_s: float) -> list[Closed] | None:
        keyed = self._queue.take(mono_s)
        if keyed is None:
            return None
        closed = self._kind.close(keyed, max(keyed.watermark_us, self._kind.newest_end(keyed)))
        self._kind.hurry(keyed)
        return closed

    def begin(self, every: Iterable[Keyed], mono_s: float) -> None:
        for keyed in every:
            if keyed.buckets:
                keyed.seen_s = keyed.moved_s = mono_s
                self._queue.add(keyed)
                self._kind.hurry(keyed)


class Timeline:
    """The records of a sender."""

    __slots__ = ("ends", "is_queued", "keys", "seen_s", "sender", "watermark_us")

    def __init__(self, sender: str) -> None:
        self.sender = sender
        self.watermark_us = NEVER
        self.seen_s = 0.0
        self.is_queued = False
        self.keys: dict[Keyed, None] = {}
        """The keys with open windows to which the sender contributed."""
        self.ends: list[tuple[int, int, Keyed]] = []
        """When a window of each key closes (a heap; an entry may be outdated)."""

    def expect(self, keyed: Keyed) -> None:
        """Look at the key when the watermark reaches its next end."""
        self.keys[keyed] = None
        heapq.heappush(self.ends, (keyed.next_us, keyed.number, keyed))

    def reached(self, watermark_us: int) -> list[Keyed]:
        """The keys to look at, each once, by the first end and their number."""
        found: dict[Keyed, None] = {}
        while self.ends and self.ends[0][0] <= watermark_us:
            keyed = heapq.heappop(self.ends)[2]
            if keyed in self.keys:
                found[keyed] = None
        return list(found)


class SharedClock(Clock):
    """Common to the timelines of senders and of the pipeline: keys share watermarks."""

    def __init__(self, kind: Kind, delay_us: int, idle_s: float | None) -> None:
        self._kind = kind
        self._delay_us = delay_us
        self.senders: dict[str, Timeline] = {}
        """The active senders. A sender that falls idle is forgotten; its keys remember what was closed."""
        self._queue = IdleQueue[Timeline](idle_s, self._over_s)

    @abstractmethod
    def _over_s(self, timeline: Timeline) -> float:
        """When the windows that wait for the timeline are over by its clock (monotonic)."""

    def next_due(self) -> float | None:
        return self._queue.next_due()

    def _sender(self, name: str, mono_s: float) -> Timeline:
        timeline = self.senders.get(name)
        if timeline is None:
            timeline = self.senders[name] = Timeline(name)
            timeline.seen_s = mono_s
            self._queue.add(timeline)
        timeline.seen_s = mono_s
        return timeline


class SenderClock(SharedClock):
    """Each sender has a watermark. That of a key is the least of the active senders of its open windows."""

    def _over_s(self, timeline: Timeline) -> float:
        newest_us = max(map(self._kind.newest_end, timeline.keys), default=NEVER)
        return timeline.seen_s + (newest_us - timeline.watermark_us) / US

    def watermark(self, keyed: Keyed, sender: str) -> int:
        timeline = self.senders.get(sender)
        if timeline is None:
            return keyed.watermark_us
        least = min((one.watermark_us for one in keyed.senders), default=timeline.watermark_us)
        return max(keyed.watermark_us, min(least, timeline.watermark_us))

    def advance(
        self, keyed: Keyed, sender: str, moment_us: int, mono_s: float, *, late: bool = False
    ) -> list[Closed]:
        timeline = self._sender(sender, mono_s)
        if keyed.buckets and not late:  # the windows need not wait for a sender that added nothing
            is_new = timeline not in keyed.senders
            if is_new:
                keyed.senders += (timeline,)
            if keyed.next_us < keyed.expected_us:
                keyed.expected_us = keyed.next_us
                for one in keyed.senders:
                    one.expect(keyed)
            elif is_new:
                timeline.expect(keyed)
        timeline.watermark_us = max(timeline.watermark_us, moment_us - self._delay_us)
        return self._close(timeline.reached(timeline.watermark_us), timeline.watermark_us)

    def _close(self, every: list[Keyed], watermark_us: int) -> list[Closed]:
        closed: list[Closed] = []
        for keyed in every:
            least = min((one.watermark_us for one in keyed.senders), default=watermark_us)
            if least >= keyed.next_us:  # else the key stays open for a new sender with a slow clock
                closed += self._kind.close(keyed, max(keyed.watermark_us, least))
            keyed.expected_us = keyed.next_us
            for one in keyed.senders:
                if not keyed.buckets:
                    one.keys.pop(keyed, None)
                elif keyed.next_us > one.watermark_us:
                    one.expect(keyed)
            if not keyed.buckets:
                keyed.senders = ()
        return sorted(closed, key=_end)

    def idle(self, mono_s: float) -> list[Closed] | None:
        timeline = self._queue.take(mono_s)
        if timeline is None:
            return None
        del self.senders[timeline.sender]
        keys = sorted(timeline.keys, key=_number)
        newest_us = max(map(self._kind.newest_end, keys), default=NEVER)
        for keyed in keys:
            keyed.senders = tuple(one for one in keyed.senders if one is not timeline)
        return self._close(keys, max(newest_us, timeline.watermark_us))

    def begin(self, every: Iterable[Keyed], mono_s: float) -> None:
        for keyed in every:
            keyed.expected_us = keyed.next_us
            for timeline in keyed.senders:
                timeline.expect(keyed)
        for timeline in self.senders.values():
            timeline.seen_s = mono_s
            self._queue.add(timeline)


class PipelineClock(SharedClock):
    """One watermark for all keys: the least of the active senders."""

    def __init__(self, kind: Kind, delay_us: int, idle_s: float | None) -> None:
        super().__init__(kind, delay_us, idle_s)
        self.whole = Timeline("")
        self._slowest: list[tuple[int, int, Timeline]] = []
        """The watermarks of the senders (a heap; an entry may be outdated)."""
        self._count = 0

    def _over_s(self, timeline: Timeline) -> float:
        if len(self.senders) > 1:
            return timeline.seen_s  # the others decide when windows close
        newest_us = max(map(self._kind.newest_end, self.whole.keys), default=NEVER)
        return timeline.seen_s + (newest_us - timeline.watermark_us) / US

    def watermark(self, keyed: Keyed, sender: str) -> int:
        return max(keyed.watermark_us, self.whole.watermark_us)

    def advance(
        self, keyed: Keyed, sender: str, moment_us: int, mono_s: float, *, late: bool = False
    ) -> list[Closed]:
        is_new = sender not in self.senders
        timeline = self._sender(sender, mono_s)
        if keyed.next_us < keyed.expected_us:
            keyed.expected_us = keyed.next_us
            self.whole.expect(keyed)
        watermark_us = moment_us - self._delay_us
        if watermark_us <= timeline.watermark_us:
            return []
        timeline.watermark_us = watermark_us
        if is_new:
            self._rank(timeline)
        return self._close(self._least())

    def _rank(self, timeline: Timeline) -> None:
        self._count += 1
        heapq.heappush(self._slowest, (timeline.watermark_us, self._count, timeline))

    def _least(self) -> int:
        """The watermark of the slowest active sender; NEVER without one."""
        while self._slowest:
            watermark_us, _, timeline = self._slowest[0]
            if self.senders.get(timeline.sender) is timeline:
                if timeline.watermark_us == watermark_us:
                    return watermark_us
                heapq.heapreplace(self._slowest, (timeline.watermark_us, self._slowest[0][1], timeline))
            else:
                heapq.heappop(self._slowest)
        return NEVER

    def _close(self, watermark_us: int) -> list[Closed]:
        whole = self.whole
        if watermark_us <= whole.watermark_us:
            return []
        whole.watermark_us = watermark_us
        closed: list[Closed] = []
        for keyed in whole.reached(watermark_us):
            closed += self._kind.close(keyed, watermark_us)
            keyed.expected_us = keyed.next_us
            if keyed.buckets:
                whole.expect(keyed)
            else:
                del whole.keys[keyed]
        return sorted(closed, key=_end)

    def idle(self, mono_s: float) -> list[Closed] | None:
        timeline = self._queue.take(mono_s)
        if timeline is None:
            return None
        del self.senders[timeline.sender]
        if self.senders:
            return self._close(self._least())
        return self._close(max(map(self._kind.newest_end, self.whole.keys), default=NEVER))

    def begin(self, every: Iterable[Keyed], mono_s: float) -> None:
        for keyed in every:
            keyed.expected_us = keyed.next_us
            if keyed.buckets:
                self.whole.expect(keyed)
        for timeline in self.senders.values():
            timeline.seen_s = mono_s
            self._queue.add(timeline)
            self._rank(timeline)


def _end(window: Closed) -> tuple[int, int]:
    return window.end_us, window.keyed.number


def _number(keyed: Keyed) -> int:
    return keyed.number


CLOCKS: dict[str, type[KeyClock | SenderClock | PipelineClock]] = {
    "key": KeyClock,
    "sender": SenderClock,
    "pipeline": PipelineClock,
}
"""By the name of `watermark_by`."""
