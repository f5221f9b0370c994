"""Passes the records of one pipeline to each of its sinks."""

from dataclasses import dataclass

from streamd.core.ack import Ack, Status
from streamd.core.acks import Acks
from streamd.core.batch import Batch, Record, peer_of, received_at_of
from streamd.core.books import Books, DeliveryBook, RecordBook
from streamd.core.dead_letter import DeadLetter, DeadLetterStore
from streamd.core.expression import Expression
from streamd.runtime.buffer import Buffer

STAGE = "where"
"""The stage of dead letters for records on which the condition of a sink failed."""


@dataclass(slots=True)
class Output:
    """The pipeline's view of a sink. With `where`, the sink gets only records for which it is true."""

    sink: str
    buffer: Buffer[Batch]
    where: Expression | None = None


class Fanout:
    """Puts a batch into the buffers of all sinks at once, so batches stay in order.

    Afterwards the caller may have to wait for room if a buffer with `block` is full. Sinks share records and
    never change them.
    """

    def __init__(self, outputs: list[Output], books: Books, dead_letters: DeadLetterStore) -> None:
        self.outputs = outputs
        self.has_conditions = any(output.where is not None for output in outputs)
        self._books = books
        self._dead_letters = dead_letters

    def put(self, batch: Batch, book: RecordBook) -> None:
        """Put the batch into the buffer of each sink, which takes it or drops and counts it."""
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
        """Whether the caller has to wait for `room` before the next `put`."""
        return any(output.buffer.must_wait for output in self.outputs)

    async def room(self) -> None:
        """Wait until no buffer with `block` is full."""
        for output in self.outputs:
            await output.buffer.room()

    def _selected(self, batch: Batch, deliveries: list[DeliveryBook]) -> list[tuple[Output, Batch]]:
        """The batch for each sink. If all are empty, the records settle as filtered."""
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
        """The records for which the condition is true, and their acks; rejects those on which it fails."""
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
