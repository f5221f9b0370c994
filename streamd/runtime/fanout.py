"""One pipeline's records to each of its sinks."""

from dataclasses import dataclass

from streamd.core.ack import Ack, Status
from streamd.core.acks import Acks
from streamd.core.batch import Batch, Record, peer_of, received_at_of
from streamd.core.books import Books, DeliveryBook, RecordBook
from streamd.core.dead_letter import DeadLetter, DeadLetterOffice
from streamd.core.expression import Expression
from streamd.runtime.buffer import Buffer

STAGE = "where"
"""The stage of dead letters whose record a sink's condition failed on."""


@dataclass(slots=True)
class Output:
    """One sink as a pipeline sees it; with `where`, only the records for which that is true go there."""

    sink: str
    buffer: Buffer[Batch]
    where: Expression | None = None


class Fanout:
    """Hands a batch to every sink's buffer at once, so that none is overtaken; whoever did may then have to
    wait for room, where a buffer with `block` is full.

    Sinks share records and never change them.
    """

    def __init__(self, outputs: list[Output], books: Books, dead_letters: DeadLetterOffice) -> None:
        self.outputs = outputs
        self.has_conditions = any(output.where is not None for output in outputs)
        self._books = books
        self._dead_letters = dead_letters

    def put(self, batch: Batch, book: RecordBook) -> None:
        """Every sink's buffer takes the batch, or drops it and counts that."""
        count = len(batch)
        book.out += count
        deliveries = [
            self._books.delivery(batch.source, batch.pipeline, output.sink) for output in self.outputs
        ]
        for delivery in deliveries:
            delivery.offered += count
        if self.has_conditions:
            parts = self._selected(batch, deliveries)
        else:
            if batch.acks is not None:
                batch.acks.fork(len(self.outputs) - 1)
            parts = [(output, batch) for output in self.outputs]
        for output, part in parts:
            output.buffer.put(part)

    @property
    def full(self) -> bool:
        """Whether whoever puts more has to wait for `room` first."""
        return any(output.buffer.must_wait for output in self.outputs)

    async def room(self) -> None:
        """Wait until no buffer with `block` is full."""
        for output in self.outputs:
            await output.buffer.room()

    def _selected(self, batch: Batch, deliveries: list[DeliveryBook]) -> list[tuple[Output, Batch]]:
        """What goes to each sink; where nothing goes to any, the batch counts as filtered."""
        batch.lift()
        parts: list[tuple[Output, Batch]] = []
        for output, delivery in zip(self.outputs, deliveries, strict=True):
            if output.where is None:
                chosen, acks = batch.records, batch.acks and batch.acks.fork()
            else:
                chosen, acks = self._chosen(output, output.where, batch, delivery)
            if chosen:
                parts.append((output, batch.chosen(chosen, acks)))
        batch.settle(Status.DELIVERED if parts else Status.FILTERED)
        return parts

    def _chosen(
        self, output: Output, where: Expression, batch: Batch, delivery: DeliveryBook
    ) -> tuple[list[Record], Acks | None]:
        """The records for which the condition is true, and their acks. Those it fails on are rejected."""
        if batch.acks is None:
            chosen, letters = _judged(output, where, batch, batch.records)
            self._count(delivery, len(batch), chosen, letters, None)
            return chosen, None
        every: list[Record] = []
        runs: list[tuple[int, Ack | None]] = []
        for start, stop, ack in batch.acks:
            chosen, letters = _judged(output, where, batch, batch.records[start:stop])
            waiting = Acks.same(ack and ack.fork(), len(letters)) if letters else None
            self._count(delivery, stop - start, chosen, letters, waiting)
            if chosen:
                every += chosen
                runs.append((len(chosen), ack and ack.fork()))
        return every, Acks(runs) if runs else None

    def _count(
        self,
        delivery: DeliveryBook,
        count: int,
        chosen: list[Record],
        letters: list[DeadLetter],
        acks: Acks | None,
    ) -> None:
        delivery.unmatched += count - len(chosen) - len(letters)
        if letters:
            delivery.rejected += len(letters)
            self._dead_letters.keep(letters, acks)


def _judged(
    output: Output, where: Expression, batch: Batch, records: list[Record]
) -> tuple[list[Record], list[DeadLetter]]:
    chosen, rejects = where.select(records)
    letters = [
        DeadLetter(
            record,
            STAGE,
            bad.reason,
            bad.detail,
            source=batch.source,
            peer=peer_of(record),
            received_at=received_at_of(record, batch.first_received_at),
            pipeline=batch.pipeline,
            sink=output.sink,
        )
        for record, bad in rejects
    ]
    return chosen, letters
