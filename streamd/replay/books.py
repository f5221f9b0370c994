"""The books of a replay: one source, `replay`, whatever sources its letters once came from."""

from collections.abc import Iterator, Sequence
from typing import Any

from streamd.core.books import Books, DeliveryBook, FrameBook, RecordBook
from streamd.core.sums import Entry
from streamd.ledger.ledger import Ledger

REPLAY = "replay"
"""The source a replay is counted as: what its letters once were is in the books of the run that read them."""


class ReplayBooks(Books):
    """Books in which batches go by the name of their first source and are counted as `replay`.

    Rows, steps and new dead letters name the first source; only the counts are summed.
    """

    def pipeline(self, source: str, pipeline: str) -> RecordBook:
        """The book of records of the replay in `pipeline`."""
        del source
        return super().pipeline(REPLAY, pipeline)

    def delivery(self, source: str, pipeline: str, sink: str) -> DeliveryBook:
        """The book of deliveries of the replay through `pipeline` to `sink`."""
        del source
        return super().delivery(REPLAY, pipeline, sink)

    def abandon(self) -> None:
        """Enter what has no fate as dropped: its letters are still there, but this run is over."""
        for book in self.every():
            book.give_up("shutdown")

    def entries(self) -> Iterator[Entry]:
        """Every number of every book; the frames of all first sources together."""
        total = FrameBook(REPLAY)
        for book in self.frames.values():
            total.add(book)
        for whole in (total, *self.records.values(), *self.deliveries.values()):
            yield from whole.entries()
        yield from self.counted()


class ReplayLedger(Ledger):
    """The ledger of a replay, which may run beside the daemon: it takes no daemon's run for one that ended.

    There is one replay at a time, so another one without an end was killed.
    """

    kind = REPLAY

    def _has_ended(self, kind: str) -> bool:
        return kind == REPLAY  # a daemon may run; where it does not, its next start tells of it

    def rows(self, entries: Sequence[Entry]) -> tuple[str, list[tuple[Any, ...]]]:
        """As the ledger's own; a sink names the first source."""
        return super().rows([entry._replace(source=REPLAY) for entry in entries])

    def committed(self, entries: Sequence[Entry]) -> None:
        """As the ledger's own; a sink names the first source."""
        super().committed([entry._replace(source=REPLAY) for entry in entries])
