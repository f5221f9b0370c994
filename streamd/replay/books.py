"""The books of a replay. All letters count for one source, `replay`, whatever their original source."""

from collections.abc import Iterator, Sequence
from typing import Any

from streamd.core.books import Books, DeliveryBook, FrameBook, RecordBook
from streamd.core.sums import Entry
from streamd.ledger.ledger import Ledger

REPLAY = "replay"
"""The source of a replay's counts. The run that read the letters has counted them for their own source."""


class ReplayBooks(Books):
    """Books in which batches keep the name of their original source and are counted as `replay`.

    Rows, steps and new dead letters name the original source. Only the counts are summed.
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
        """Count everything without a fate as dropped. Its letters stay in the dead letters."""
        for book in self.every():
            book.give_up("shutdown")

    def entries(self) -> Iterator[Entry]:
        """Every number of every book, with the frames of all original sources in one sum."""
        total = FrameBook(REPLAY)
        for book in self.frames.values():
            total.add(book)
        for whole in (total, *self.records.values(), *self.deliveries.values()):
            yield from whole.entries()
        yield from self.counted()


class ReplayLedger(Ledger):
    """The ledger of a replay. A daemon may run at the same time, so it marks no daemon's run as unclean.

    Only one replay runs at a time, so an earlier replay without an end was killed.
    """

    kind = REPLAY

    def _has_ended(self, kind: str) -> bool:
        return kind == REPLAY  # a daemon's next start marks its own run

    def rows(self, entries: Sequence[Entry]) -> tuple[str, list[tuple[Any, ...]]]:
        """As in `Ledger`, with the entries counted as `replay`. A sink names the original source."""
        return super().rows([entry._replace(source=REPLAY) for entry in entries])

    def committed(self, entries: Sequence[Entry]) -> None:
        """As in `Ledger`, with the entries counted as `replay`. A sink names the original source."""
        super().committed([entry._replace(source=REPLAY) for entry in entries])
