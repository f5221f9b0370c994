"""Which records of files that are read again a stream holds already."""

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence

from streamd.core.batch import Batch
from streamd.core.now import Now
from streamd.core.tenure import BEGINNING, InputPart, StoredUpTo
from streamd.jetstream.messages import Message
from streamd.jetstream.outbox import Ends, Outbox
from streamd.positions.stored_parts import Claim, SortedOut, StoredParts

MOST_ENDS = 256
"""Most ends that are remembered. A file that begins anew, or gets another framing, has a new one."""


class Published:
    """Leaves out the records that the stream holds, and keeps what is being published in an outbox.

    Records without a numbered frame (of UDP, TCP, or made by a timer) pass, and a write that has only such
    records does not touch the outbox.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._parts = StoredParts()
        self._begun: set[Claim] = set()
        self._ends: Ends | None = None
        """None until the outbox is loaded."""
        self._moved: Ends | None = None
        """The ends with the records that are being published; None if they are the same."""
        self.has_put = False
        """Whether the outbox has the records that are being published."""

    def ends_of(self, sequence: str) -> Collection[int]:
        """The last frame of each pipeline whose records the stream holds. Raises `OSError`."""
        ends = self._outbox.load().ends if self._ends is None else self._ends
        return {last for (name, _), last in ends.items() if name == sequence}

    def is_needed(self, batches: Sequence[Batch]) -> bool:
        """Whether `load` has to be called before these batches are sorted out."""
        return self._ends is None and next(_numbered(batches), None) is not None

    def load(self, now: Now) -> dict[int, deque[Message]]:
        """The messages that a killed process was publishing, by partition. Raises `OSError`."""
        kept = self._outbox.load()
        self._ends = kept.ends
        for queue in kept.waiting.values():
            for message in queue:
                message.first_sent_mono_s = now.mono_s - max(0.0, now.wall_s - kept.put_at_wall_s)
        return kept.waiting

    def sort_out(self, batches: Sequence[Batch]) -> SortedOut:
        """The records that the stream does not hold."""
        ends = self._ends or {}
        moved = dict(ends)
        for part, pipeline in _numbered(batches):
            claim, name = (part.tenure, pipeline), (part.tenure.sequence, pipeline)
            end = ends.get(name, 0)
            if part.number <= end < part.last:  # the source has not divided it: twice is better than never
                self._parts.begin(claim, BEGINNING)
            elif claim not in self._begun:
                self._parts.begin(claim, StoredUpTo(end + 1, 0))
            self._begun.add(claim)
            moved[name] = max(moved.pop(name, 0), part.last)
        for name in list(moved)[:-MOST_ENDS]:
            del moved[name]
        self._moved = None if moved == ends else moved
        return self._parts.sort_out(batches)

    @property
    def has_to_put(self) -> bool:
        """Whether records that were sorted out have to be put into the outbox before they are sent."""
        return self._moved is not None and not self.has_put

    def put(self, waiting: Mapping[int, deque[Message]], now: Now) -> None:
        """Keep the messages of the records that were sorted out. Raises `OSError`."""
        if self._moved is not None:
            self._outbox.put(self._moved, waiting, now.wall_s)
            self.has_put = True

    def done(self) -> None:
        """The stream holds all messages of the last `put`. Raises `OSError`."""
        self._outbox.done()
        self.has_put = False

    def stored(self, found: SortedOut) -> None:
        """The stream holds the records that were sorted out."""
        self._parts.stored(found)
        if self._moved is not None:
            self._ends, self._moved = self._moved, None

    def close(self) -> None:
        """Close the files."""
        self._outbox.close()


def _numbered(batches: Sequence[Batch]) -> Iterator[tuple[InputPart, str]]:
    """The numbered parts of input that no other process reads, each with the pipeline of its records."""
    for batch in batches:
        for _, _, ack in batch.acks or ():
            if ack is not None and ack.origin is not None and not ack.origin.tenure.is_shared:
                yield ack.origin, batch.pipeline
