"""A bounded queue between a writer and a reader of different speed."""

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, Self, TypeVar

from streamd.core.settings import WhenFull


class Sized(Protocol):
    """An item of a buffer: frames or a batch. It has a length and a size, and can be split."""

    size_bytes: int

    def __len__(self) -> int: ...

    def whole(self, count: int) -> tuple[int, int]:
        """The most frames or records up to `count`, and the least from `count` on, that may be split off."""

    def split(self, count: int) -> tuple[Self, Self]:
        """The first `count` frames or records, and the rest."""


T = TypeVar("T", bound=Sized)


class Buffer(Generic[T]):
    """A FIFO queue that is bounded by records and by bytes. It has one reader.

    With `block`, the buffer takes each item and tells its writer to wait if it is full, so it exceeds a bound
    by at most one item per writer. With `drop_newest` and `drop_oldest` it never exceeds a bound; it passes
    the dropped records to `on_drop` at once. A part of an input that is read again is dropped as a whole,
    because the positions of sinks count its records.
    """

    def __init__(
        self, max_records: int, max_bytes: int, when_full: WhenFull, on_drop: Callable[[T], None]
    ) -> None:
        self.max_records = max_records
        self.max_bytes = max_bytes
        self.when_full = when_full
        self.max_taken_bytes = sys.maxsize
        """Most bytes of one `take`, unless a single record is larger."""
        self.records = 0
        self.size_bytes = 0
        self.closed = False
        self.on_ready: Callable[[], None] | None = None
        self.on_room: Callable[[], None] | None = None
        self._on_drop = on_drop
        self._items: deque[T] = deque()
        self._held_back = False
        self._writers: list[asyncio.Future[None]] = []
        self._reader: tuple[int, asyncio.Future[None]] | None = None

    def resize(self, max_records: int, max_bytes: int, when_full: WhenFull) -> None:
        """Set other bounds and another policy. Waiting items stay; bounds apply to the next `put`."""
        self.max_records, self.max_bytes, self.when_full = max_records, max_bytes, when_full
        self.make_room()

    @property
    def full(self) -> bool:
        """Whether one of the bounds is reached."""
        return self.records >= self.max_records or self.size_bytes >= self.max_bytes

    def put(self, item: T) -> bool:
        """Add the item under the policy. False: the writer has to wait until `on_room` is called."""
        if not len(item):
            return not self._held_back
        if self.when_full == "drop_newest":
            self._put_what_fits(item)
        else:
            self._append(item)
            if self.when_full == "drop_oldest":
                self._shed()
        self._wake_reader()
        if self.when_full == "block" and self.full:
            self._held_back = True
            return False
        return True

    @property
    def held_back(self) -> bool:
        """Whether `put` has returned False and `on_room` was not called since."""
        return self._held_back

    @property
    def must_wait(self) -> bool:
        """Whether the buffer is full and its policy is `block`."""
        return self.when_full == "block" and self.full

    async def room(self) -> None:
        """With `block`, wait until the buffer is not full."""
        if self.must_wait:
            room = asyncio.get_running_loop().create_future()
            self._writers.append(room)
            await room

    def take(self, max_records: int) -> list[T]:
        """Take waiting items of up to `max_records` records. A larger item is split into even parts.

        The records of one part of an input that is read again are taken together, even if they are more.
        """
        taken = self.take_quietly(max_records)
        self.make_room()
        return taken

    def take_quietly(self, max_records: int) -> list[T]:
        """As `take`, but writers are not woken until `make_room` is called."""
        taken: list[T] = []
        self._fill(taken, self._items, max_records)
        return taken

    async def wait(self, at_least: int = 1) -> None:
        """Wait until the buffer has `at_least` records, has reached a bound, or is closed."""
        if self.records >= at_least or self.full or self.closed:
            return
        woken = asyncio.get_running_loop().create_future()
        self._reader = (at_least, woken)
        try:
            await woken
        finally:
            self._reader = None

    def close(self) -> None:
        """Mark the end of the input. The reader takes the remaining items and then ends."""
        self.closed = True
        self._wake_reader()

    def drain(self) -> list[T]:
        """Take all items, for a shutdown that ran out of time."""
        left, self._items = list(self._items), deque()
        self.records = self.size_bytes = 0
        return left

    def _fill(self, taken: list[T], items: deque[T], max_records: int) -> None:
        room = max_records - sum(map(len, taken))
        room_bytes = self.max_taken_bytes - sum(item.size_bytes for item in taken)
        while items and room > 0 and room_bytes > 0:
            item = items.popleft()
            count = len(item)
            if taken and (count > room or item.size_bytes > room_bytes):
                items.appendleft(item)
                break
            parts = max(-(-count // max_records), min(count, -(-item.size_bytes // self.max_taken_bytes)))
            if parts > 1 and (first := item.whole(-(-count // parts))[1]) < count:
                item, rest = item.split(first)
                items.appendleft(rest)
            self._forget(item)
            taken.append(item)
            room -= len(item)
            room_bytes -= item.size_bytes

    def _append(self, item: T) -> None:
        self._items.append(item)
        self.records += len(item)
        self.size_bytes += item.size_bytes

    def _forget(self, item: T) -> None:
        self.records -= len(item)
        self.size_bytes -= item.size_bytes

    def _put_what_fits(self, item: T) -> None:
        count = len(item)
        room_bytes = self.max_bytes - self.size_bytes
        fits = min(count, self.max_records - self.records, room_bytes * count // max(item.size_bytes, 1))
        if fits >= count:
            self._append(item)
        elif (fits := item.whole(max(0, fits))[0]) <= 0:
            self._on_drop(item)
        else:
            head, tail = item.split(fits)
            self._append(head)
            self._on_drop(tail)

    def _shed(self) -> None:
        while self.records > self.max_records or self.size_bytes > self.max_bytes:
            oldest = self._items.popleft()
            count = len(oldest)
            excess = oldest.whole(min(self._excess(oldest), count))[1]
            if excess < count:
                oldest, rest = oldest.split(excess)
                self._items.appendleft(rest)
            self._forget(oldest)
            self._on_drop(oldest)

    def _excess(self, item: T) -> int:
        """How many records like those of the item exceed the bounds; at least 1."""
        excess_bytes = self.size_bytes - self.max_bytes
        of_this_size = -(-excess_bytes * len(item) // max(item.size_bytes, 1))
        return max(self.records - self.max_records, of_this_size, 1)

    def _wake_reader(self) -> None:
        if self._reader is not None:
            at_least, woken = self._reader
            if (self.records >= at_least or self.full or self.closed) and not woken.done():
                woken.set_result(None)
        if self.on_ready is not None:
            self.on_ready()

    def make_room(self) -> None:
        """Wake the writers if there is room."""
        if self._writers and not self.full:
            for room in self._writers:
                if not room.done():
                    room.set_result(None)
            self._writers.clear()
        low = self.records <= self.max_records // 2 and self.size_bytes <= self.max_bytes // 2
        if self._held_back and low:
            self._held_back = False
            if self.on_room is not None:
                self.on_room()
