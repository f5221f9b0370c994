"""The metadata of a batch's records as columns."""

from collections.abc import Iterable
from itertools import repeat
from typing import Any

from streamd.core.batch import PEER, RECEIVED_AT, Batch
from streamd.core.timestamp import canonical_or_none, from_epoch


def metadata(batch: Batch) -> tuple[Iterable[str | None], Iterable[str], Iterable[str | None]]:
    """The columns received_at, source (endless) and peer of the batch. Formats each distinct time once."""
    if batch.lifted:
        return (
            [canonical_or_none(record.get(RECEIVED_AT)) for record in batch.records],
            repeat(batch.source),
            [_text(record.get(PEER)) for record in batch.records],
        )
    count, times_s = len(batch), batch.received_at.values
    times: Iterable[str]
    if times_s is None:
        times = repeat(from_epoch(batch.received_at.same), count)
    else:
        texts = {time_s: from_epoch(time_s) for time_s in set(times_s)}
        times = map(texts.__getitem__, times_s)
    return times, repeat(batch.source), batch.peers.of(count)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
