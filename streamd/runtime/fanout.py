"""One pipeline's records to each of its sinks."""

from dataclasses import dataclass

from streamd.core.batch import Batch
from streamd.core.books import Books, RecordBook
from streamd.runtime.buffer import Buffer


@dataclass(slots=True)
class Output:
    """One sink as a pipeline sees it."""

    sink: str
    buffer: Buffer[Batch]


class Fanout:
    """Hands a batch to every sink's buffer, in order; waits only where a buffer with `block` is full."""

    def __init__(self, outputs: list[Output], books: Books) -> None:
        self.outputs = outputs
        self._books = books

    async def send(self, batch: Batch, book: RecordBook) -> None:
        """Return when every sink's buffer has taken the batch (or dropped it, and counted that).

        It is booked before the first wait, as pending at each sink: a worker that is ended while it waits
        leaves books in which every sink was offered what the pipeline gave out.
        """
        count = len(batch)
        if batch.ack is not None:
            batch.ack.fork(len(self.outputs) - 1)
        book.out += count
        for output in self.outputs:
            self._books.delivery(batch.source, batch.pipeline, output.sink).offered += count
        for output in self.outputs:
            await output.buffer.send(batch)
