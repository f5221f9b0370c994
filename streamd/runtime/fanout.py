"""One pipeline's records to each of its sinks."""

from dataclasses import dataclass

from streamd.core.ack import Status
from streamd.core.batch import Batch, peer_of, received_at_of
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
            if batch.ack is not None:
                batch.ack.fork(len(self.outputs) - 1)
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
                chosen = batch.records
            else:
                chosen, rejects = output.where.select(batch.records)
                delivery.unmatched += len(batch.records) - len(chosen) - len(rejects)
                if rejects:
                    delivery.rejected += len(rejects)
                    self._dead_letters.keep(
                        [
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
                        ],
                        batch.ack.fork() if batch.ack is not None else None,
                    )
            if chosen:
                parts.append((output, batch.part(chosen, batch.ack and batch.ack.fork())))
        if batch.ack is not None:
            batch.ack.settle(Status.DELIVERED if parts else Status.FILTERED)
        return parts
