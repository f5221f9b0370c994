"""The keys of a batch's records, for a step that works by key."""

from collections.abc import Callable

from streamd.core.batch import Record
from streamd.core.contracts import BadRecord, Processed
from streamd.core.errors import BadData
from streamd.core.record_key import Key


def keyed(
    key_of: Callable[[Record], Key], records: list[Record], done: Processed
) -> tuple[list[Key], list[Record]]:
    """The keys, and the records that have one. The others become rejects in `done`."""
    try:
        return list(map(key_of, records)), records
    except BadData:
        keys, with_key = [], []
    for record in records:
        try:
            keys.append(key_of(record))
        except BadData as bad:
            done.rejects.append(BadRecord(record, bad.reason, bad.detail))
        else:
            with_key.append(record)
    return keys, with_key
