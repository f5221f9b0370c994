"""The buffer behind a source: senders take turns, and a drop takes from the sender that holds the most."""

from collections import OrderedDict, deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count

from streamd.core.frames import Frames
from streamd.core.settings import WhenFull
from streamd.runtime.buffer import Buffer

QUANTUM_BYTES = 16 * 1024
"""What a sender may be served in one turn: about a hundred small frames, so that cutting costs little."""
OWN_QUEUES = 4096
"""Senders with a queue of their own at one time."""
SHARED_QUEUES = 1024
"""Queues for the senders beyond; a hash that differs from run to run says which."""
FIFO_RECORDS = 1024
FIFO_FRACTION = 16
"""While no more than this waits, in frames and as a part of both bounds, nothing is sorted."""
SHED_FRACTION = 16
"""The longest backlog gives up no more than this part of itself before all are compared again."""
GROWN_RECORDS = 512
"""Up to here small parts of one sender are put together; cutting a longer list would cost more."""


class Backlog:
    """What waits of one sender, or of those who share a queue."""

    __slots__ = ("credit_bytes", "grown", "items", "key", "ranked", "records", "size_bytes")

    def __init__(self, key: str | int) -> None:
        self.key = key
        self.items: deque[Frames] = deque()
        self.records = 0
        self.size_bytes = 0
        self.credit_bytes = QUANTUM_BYTES
        self.ranked = 0
        """Its weight as the ranking knows it: never less than it is; 0 once it is gone."""
        self.grown: Frames | None = None
        """The newest item, where it was made here and may be added to."""

    def add(self, item: Frames) -> None:
        """Queue the item as it is."""
        self.items.append(item)
        self.records += len(item)
        self.size_bytes += item.size_bytes

    def add_part(self, part: Frames) -> None:
        """Queue a part of an item, put together with those that wait where possible."""
        last = self.grown
        if (
            last is None
            or self.items[-1] is not last  # taken or cut meanwhile
            or part.acks is not None
            or last.acks is not None
            or len(last) + len(part) > GROWN_RECORDS
        ):
            self.add(part)
            self.grown = part
            return
        count = len(last)
        last.peers = last.peers.extended(count, part.peers, len(part))
        last.received_at = last.received_at.extended(count, part.received_at, len(part))
        last.payloads += part.payloads
        last.flagged = last.flagged or part.flagged
        last.size_bytes += part.size_bytes
        self.records += len(part)
        self.size_bytes += part.size_bytes


class FairBuffer(Buffer[Frames]):
    """A buffer of frames that is fair to their senders. A sender is an IP address.

    - A small backlog is first in, first out and costs what a plain `Buffer` costs. Beyond it frames are
      sorted by sender until the buffer is empty again; each frame is sorted at most once.
    - Senders are served by deficit round-robin, in bytes. The order within a sender is always kept.
    - `drop_oldest` and `drop_newest` act within the sender whose backlog takes the largest part of the
      bounds (its part of `max_records` and its part of `max_bytes` added up), found in O(log senders).
    - There are at most `OWN_QUEUES` + `SHARED_QUEUES` queues, however many senders there are; a queue that
      is empty is freed at once.
    """

    def __init__(
        self, max_records: int, max_bytes: int, when_full: WhenFull, on_drop: Callable[[Frames], None]
    ) -> None:
        super().__init__(max_records, max_bytes, when_full, on_drop)
        self._set_fifo()
        self._backlogs: OrderedDict[str | int, Backlog] = OrderedDict()  # by key, and in the order of turns
        self._ranking: list[tuple[int, int, Backlog]] = []  # a heap: the heaviest first
        self._serial = count()
        self._own_queues = 0

    def resize(self, max_records: int, max_bytes: int, when_full: WhenFull) -> None:
        """As `Buffer.resize`; senders are compared by the new bounds."""
        super().resize(max_records, max_bytes, when_full)
        self._set_fifo()
        if self._ranking:
            self._rank_all()
        if not self._backlogs and (self.records > self._fifo_records or self.size_bytes > self._fifo_bytes):
            for waiting in super().drain():
                self._sort(waiting)

    def _set_fifo(self) -> None:
        self._fifo_records = min(FIFO_RECORDS, self.max_records // FIFO_FRACTION)
        self._fifo_bytes = self.max_bytes // FIFO_FRACTION

    def take(self, max_records: int) -> list[Frames]:
        """What waits, up to `max_records`, of several senders in turn."""
        if not self._backlogs:
            return super().take(max_records)
        taken: list[Frames] = []
        room, room_bytes = max_records, self.max_taken_bytes
        while len(self._backlogs) > 1 and room > 0 and room_bytes > 0:
            backlog = next(iter(self._backlogs.values()))
            item = self._take_turn(backlog, room)
            if item is not None:
                taken.append(item)
                room -= len(item)
                room_bytes -= item.size_bytes
                if not backlog.items:
                    self._free(backlog)
        if room > 0 and room_bytes > 0:
            self._fill_from_the_last(taken, max_records)
        self.make_room()
        return taken

    def drain(self) -> list[Frames]:
        """Everything that is left, for a shutdown that ran out of time."""
        left = super().drain()
        for backlog in list(self._backlogs.values()):
            left += backlog.items
            self._free(backlog)
        return left

    def _take_turn(self, backlog: Backlog, room: int) -> Frames | None:
        """One item, or what its credit pays of it. None: the turn is over.

        The frames of one item are paid at their average size, so that none has to be looked at.
        """
        item = backlog.items[0]
        if backlog.credit_bytes * len(item) < item.size_bytes:
            backlog.credit_bytes += QUANTUM_BYTES
            self._backlogs.move_to_end(backlog.key)
            return None
        backlog.items.popleft()
        served = min(backlog.credit_bytes * len(item) // max(item.size_bytes, 1), room)
        if served < len(item):
            item, rest = item.split(served)
            backlog.items.appendleft(rest)
        backlog.credit_bytes -= item.size_bytes
        self._forget_of(backlog, item)
        return item

    def _fill_from_the_last(self, taken: list[Frames], max_records: int) -> None:
        """Nobody else waits: no turns."""
        (backlog,) = self._backlogs.values()
        before, before_bytes = self.records, self.size_bytes
        self._fill(taken, backlog.items, max_records)
        backlog.records -= before - self.records
        backlog.size_bytes -= before_bytes - self.size_bytes
        if not backlog.items:
            self._free(backlog)

    def _append(self, item: Frames) -> None:
        if self._backlogs:
            self._sort(item)
            return
        self._items.append(item)
        self.records += len(item)
        self.size_bytes += item.size_bytes
        if self.records > self._fifo_records or self.size_bytes > self._fifo_bytes:
            for waiting in super().drain():
                self._sort(waiting)

    def _put_what_fits(self, item: Frames) -> None:
        self._append(item)
        self._shed()

    def _shed(self) -> None:
        """Drop what is too much. Over a bound everything is sorted: both are above those of the FIFO."""
        while self.records > self.max_records or self.size_bytes > self.max_bytes:
            backlog = self._heaviest()
            items = backlog.items
            newest = self.when_full == "drop_newest"
            lost = items.pop() if newest else items.popleft()
            excess = min(self._excess(lost), max(1, backlog.records // SHED_FRACTION))
            if excess < len(lost):
                if newest:
                    rest, lost = lost.split(len(lost) - excess)
                    items.append(rest)
                else:
                    lost, rest = lost.split(excess)
                    items.appendleft(rest)
            self._forget_of(backlog, lost)
            if not items:
                self._free(backlog)
            self._on_drop(lost)

    def _sort(self, item: Frames) -> None:
        """Queue each frame with those of its sender."""
        self.records += len(item)
        peers = item.peers.values
        if peers is None:
            self._add_whole(self._backlog(item.peers.same.host), item)
            return
        places = {peer: self._backlog(peer.host) for peer in dict.fromkeys(peers)}
        backlogs = set(places.values())
        if len(backlogs) == 1:
            self._add_whole(backlogs.pop(), item)
            return
        rows: dict[Backlog, list[int]] = {backlog: [] for backlog in backlogs}
        for row, peer in enumerate(peers):
            rows[places[peer]].append(row)
        for backlog, part in zip(rows, item.sorted_out(list(rows.values())), strict=True):
            backlog.add_part(part)
            self.size_bytes += part.size_bytes
            self._rank(backlog)

    def _add_whole(self, backlog: Backlog, item: Frames) -> None:
        backlog.add(item)
        self.size_bytes += item.size_bytes
        self._rank(backlog)

    def _backlog(self, sender: str) -> Backlog:
        """Where frames of the sender wait, or are to wait; the caller puts some there.

        A sender whose frames may wait in a shared queue stays there until that is empty: so order is kept.
        """
        backlog = self._backlogs.get(sender)
        if backlog is not None:
            return backlog
        shared = hash(sender) % SHARED_QUEUES
        backlog = self._backlogs.get(shared)
        if backlog is None:
            own = self._own_queues < OWN_QUEUES
            self._own_queues += own
            key = sender if own else shared
            backlog = self._backlogs[key] = Backlog(key)
        return backlog

    def _forget_of(self, backlog: Backlog, item: Frames) -> None:
        backlog.records -= len(item)
        backlog.size_bytes -= item.size_bytes
        self._forget(item)

    def _free(self, backlog: Backlog) -> None:
        del self._backlogs[backlog.key]
        self._own_queues -= isinstance(backlog.key, str)
        backlog.ranked = 0
        if not self._backlogs:
            self._ranking.clear()

    def _weight(self, backlog: Backlog) -> int:
        return backlog.size_bytes * self.max_records + backlog.records * self.max_bytes

    def _rank(self, backlog: Backlog) -> None:
        """Note that the backlog grew. That one shrank is noticed when it comes up."""
        if not self._ranking:
            return
        weight = self._weight(backlog)
        if weight <= backlog.ranked:
            return
        backlog.ranked = weight
        heappush(self._ranking, (-weight, next(self._serial), backlog))
        if len(self._ranking) > 4 * len(self._backlogs) + 64:  # most of it is outdated
            self._rank_all()

    def _rank_all(self) -> None:
        for each in self._backlogs.values():
            each.ranked = self._weight(each)
        self._ranking = [(-each.ranked, next(self._serial), each) for each in self._backlogs.values()]
        heapify(self._ranking)

    def _heaviest(self) -> Backlog:
        """The ranking is made for the first drop and kept until nothing waits."""
        if not self._ranking:
            self._rank_all()
        ranking = self._ranking
        while True:
            negative, _, backlog = ranking[0]
            if -negative != backlog.ranked:  # it has grown since, or is gone
                heappop(ranking)
                continue
            weight = self._weight(backlog)
            if weight == backlog.ranked:
                return backlog
            backlog.ranked = weight
            heapreplace(ranking, (-weight, next(self._serial), backlog))
