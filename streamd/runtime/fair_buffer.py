"""The buffer of a source: senders are served in turn, and drops come from the sender with the most frames."""

from collections import OrderedDict, deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count

from streamd.core.frames import Frames
from streamd.core.settings import WhenFull
from streamd.runtime.buffer import Buffer

QUANTUM_BYTES = 16 * 1024
"""Bytes that a sender may use in one turn: about a hundred small frames, so splitting costs little."""
OWN_QUEUES = 4096
"""Most senders with their own queue."""
SHARED_QUEUES = 1024
"""Queues for all other senders. A hash that differs in each run chooses the queue."""
FIFO_RECORDS = 1024
FIFO_FRACTION = 16
"""Frames are not sorted while at most `FIFO_RECORDS`, and at most 1/16 of both bounds, wait."""
SHED_FRACTION = 16
"""The heaviest backlog drops at most 1/16 of its frames before backlogs are compared again."""
GROWN_RECORDS = 512
"""Most frames of a queued item to which small parts are added. Splitting a longer list would cost more."""


class Backlog:
    """The queue of one sender, or of several senders that share it."""

    __slots__ = ("credit_bytes", "grown", "items", "key", "ranked", "records", "size_bytes")

    def __init__(self, key: str | int) -> None:
        self.key = key
        self.items: deque[Frames] = deque()
        self.records = 0
        self.size_bytes = 0
        self.credit_bytes = QUANTUM_BYTES
        self.ranked = 0
        """The weight in the ranking: at least the real weight; 0 if the backlog was freed."""
        self.grown: Frames | None = None
        """The newest item if it was made here, so frames may be added to it."""

    def add(self, item: Frames) -> None:
        """Queue the item unchanged."""
        self.items.append(item)
        self.records += len(item)
        self.size_bytes += item.size_bytes

    def add_part(self, part: Frames) -> None:
        """Queue a part of an item; adds it to the newest item if possible."""
        last = self.grown
        if (
            last is None
            or self.items[-1] is not last  # taken or split meanwhile
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

    - While few frames wait, the buffer is a FIFO and costs as much as a plain `Buffer`. When more wait, it
      sorts frames by sender until it is empty again. Each frame is sorted at most once.
    - Senders are served by deficit round-robin, in bytes. The frames of a sender stay in order.
    - `drop_oldest` and `drop_newest` drop frames of the sender whose backlog uses the largest share of the
      bounds (the sum of its shares of `max_records` and `max_bytes`). It is found in O(log senders).
    - There are at most `OWN_QUEUES` + `SHARED_QUEUES` queues. An empty queue is freed at once.
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
        """As `Buffer.resize`. Backlogs are compared by the new bounds."""
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
        """Take up to `max_records` frames, of several senders in turn."""
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
        """Take all frames, for a shutdown that ran out of time."""
        left = super().drain()
        for backlog in list(self._backlogs.values()):
            left += backlog.items
            self._free(backlog)
        return left

    def _take_turn(self, backlog: Backlog, room: int) -> Frames | None:
        """Take one item, or the part of it that the credit of the backlog covers. None: the turn is over.

        Each frame of an item costs the average size, so the real sizes are not needed.
        """
        item = backlog.items[0]
        if backlog.credit_bytes * len(item) < item.size_bytes:
            backlog.credit_bytes += QUANTUM_BYTES
            self._backlogs.move_to_end(backlog.key)
            return None
        backlog.items.popleft()
        served = min(backlog.credit_bytes * len(item) // max(item.size_bytes, 1), room)
        if served < len(item) and (served := item.whole(served)[1]) < len(item):
            item, rest = item.split(served)
            backlog.items.appendleft(rest)
        backlog.credit_bytes -= item.size_bytes
        self._forget_of(backlog, item)
        return item

    def _fill_from_the_last(self, taken: list[Frames], max_records: int) -> None:
        """Take frames of the only backlog that is left, without turns."""
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
        """Drop frames until both bounds hold. The FIFO has lower bounds, so the frames are sorted here."""
        while self.records > self.max_records or self.size_bytes > self.max_bytes:
            backlog = self._heaviest()
            items = backlog.items
            newest = self.when_full == "drop_newest"
            lost = items.pop() if newest else items.popleft()
            excess = min(self._excess(lost), max(1, backlog.records // SHED_FRACTION))
            if newest and (kept := lost.whole(max(0, len(lost) - excess))[0]):
                rest, lost = lost.split(kept)
                items.append(rest)
            elif not newest and (gone := lost.whole(min(excess, len(lost)))[1]) < len(lost):
                lost, rest = lost.split(gone)
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
        """The backlog of the sender, made if necessary; the caller then adds frames to it.

        To keep the order, a sender whose frames may be in a shared queue uses that queue until it is empty.
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
        """Update the ranking of a backlog that grew. `_heaviest` corrects backlogs that shrank."""
        if not self._ranking:
            return
        weight = self._weight(backlog)
        if weight <= backlog.ranked:
            return
        backlog.ranked = weight
        heappush(self._ranking, (-weight, next(self._serial), backlog))
        if len(self._ranking) > 4 * len(self._backlogs) + 64:  # most entries are outdated
            self._rank_all()

    def _rank_all(self) -> None:
        for each in self._backlogs.values():
            each.ranked = self._weight(each)
        self._ranking = [(-each.ranked, next(self._serial), each) for each in self._backlogs.values()]
        heapify(self._ranking)

    def _heaviest(self) -> Backlog:
        """The backlog with the largest weight. The ranking is made at the first drop and kept until empty."""
        if not self._ranking:
            self._rank_all()
        ranking = self._ranking
        while True:
            negative, _, backlog = ranking[0]
            if -negative != backlog.ranked:  # the backlog has grown since, or was freed
                heappop(ranking)
                continue
            weight = self._weight(backlog)
            if weight == backlog.ranked:
                return backlog
            backlog.ranked = weight
            heapreplace(ranking, (-weight, next(self._serial), backlog))
