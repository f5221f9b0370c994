"""The dead letters of rows that a table refuses, stored once however often a write is tried."""

from collections.abc import Sequence

from streamd.core.batch import Batch
from streamd.core.dead_letter import DeadLetter, DeadLetterStore
from streamd.sqlite.rows import BadRow


class RowLetters:
    """Knows the letters of the write under way."""

    def __init__(self, sink: str, store: DeadLetterStore) -> None:
        self._sink = sink
        self._store = store
        self._kept: dict[tuple[int, int], Batch] = {}

    async def keep(self, refused: Sequence[tuple[Batch, BadRow]]) -> None:
        """Commit the dead letters. A retry with the same batches stores none twice."""
        letters = [
            DeadLetter.at_sink(self._sink, batch, reject.index, reject.reason, reject.detail)
            for batch, reject in refused
            if (id(batch), reject.index) not in self._kept
        ]
        if letters:
            await self._store.commit(letters)
        for batch, reject in refused:  # keeping the batch prevents that its id is reused
            self._kept[id(batch), reject.index] = batch

    def forget(self) -> None:
        """The write has succeeded."""
        self._kept.clear()
