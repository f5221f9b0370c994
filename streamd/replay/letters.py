"""Dead letters read back: what a replay would take, and each as the frame it goes in as again."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from streamd.core.batch import METADATA_KEYS, PEER, RECEIVED_AT, Record
from streamd.core.contracts import Codec
from streamd.core.errors import BadData
from streamd.core.now import Now
from streamd.core.settings import Settings
from streamd.core.timestamp import canonical
from streamd.dead_letters.filter import LetterFilter

_ORIGIN = "source, pipeline, sink, kind"
WINDOW = f"""
SELECT id, received_at, peer, payload FROM (
  SELECT *, sum(length(payload)) OVER (ORDER BY id) - length(payload) AS before_bytes FROM (
    SELECT * FROM dead_letters
    WHERE {{condition}} AND id > ? AND id <= ? AND ({_ORIGIN}) IS (?, ?, ?, ?)
    ORDER BY id LIMIT ?
  )
) WHERE before_bytes < ?
"""  # noqa: S608 - our own words
"""Letters of one origin behind an id and up to another, at most so many and about so many bytes."""


class Origin(NamedTuple):
    """Where letters come from: all that share it go the same way again.

    `sink` is given where only that sink refused the record: the others have it. `pipeline` is None where
    the frame was refused before any pipeline: then it goes to all that read the source.
    """

    source: str
    pipeline: str | None
    sink: str | None
    kind: str


@dataclass(slots=True, frozen=True)
class ReplayPlan:
    """What a replay takes: letters up to the one numbered `last_id`, and how many there are by origin."""

    wanted: LetterFilter
    last_id: int
    origins: dict[Origin, int]
    edited: dict[int, bytes] = field(default_factory=dict)
    """Payloads by the number of the letter in whose place they go in."""

    @property
    def letters(self) -> int:
        """How many they are."""
        return sum(self.origins.values())


def plan(connection: sqlite3.Connection, wanted: LetterFilter, limit: int | None = None) -> ReplayPlan:
    """Find the letters meant, with `limit` the oldest of them. Letters that come later are not in it."""
    ((last_id,),) = connection.execute(
        "SELECT coalesce(max(id), 0) FROM"  # noqa: S608 - our own words
        f" (SELECT id FROM dead_letters WHERE {wanted.condition} ORDER BY id LIMIT ?)",
        [*wanted.parameters, -1 if limit is None else limit],
    )
    found = connection.execute(
        f"SELECT {_ORIGIN}, count(*) FROM dead_letters"  # noqa: S608 - our own words
        f" WHERE {wanted.condition} AND id <= ? GROUP BY 1, 2, 3, 4 ORDER BY min(id)",
        [*wanted.parameters, last_id],
    )
    return ReplayPlan(wanted, last_id, {Origin(*origin): count for *origin, count in found})


class Letter(NamedTuple):
    """One dead letter as it goes in again: the bytes for its codec, who sent them, and when."""

    id: int
    payload: bytes
    peer: str
    received_at: float


def letters_of(rows: list[tuple[Any, ...]], kind: str, edited: Mapping[int, bytes]) -> list[Letter]:
    """The rows as letters, without those of records that had no JSON and were kept as a text.

    The payload of a letter in `edited` is the one there.
    """
    letters = []
    for letter_id, kept_at, peer, payload in rows:
        kept = payload.encode() if isinstance(payload, str) else payload
        content = edited.get(letter_id, kept)
        sender, received_at = peer or "", kept_at
        if kind == "record":
            record = _object(content)
            if record is None:
                continue
            # A letter knows the time of its batch; a record that has passed a step knows its own.
            sender = _text(record.get(PEER)) or sender
            received_at = _moment(record.get(RECEIVED_AT)) or kept_at
        letters.append(Letter(letter_id, content, sender, datetime.fromisoformat(received_at).timestamp()))
    return letters


class KeptRecord(Codec[Settings]):
    """Makes a record of the JSON it was kept as; its metadata is in the letter's other columns."""

    def decode_one(self, payload: bytes, now: Now) -> Record:
        """The record as it was when it was refused; bytes in it have become base64 text."""
        del now
        record = _object(payload)
        if record is None:
            raise BadData("json:not_object")
        for key in METADATA_KEYS:
            record.pop(key, None)
        return record


def _object(payload: bytes) -> Record | None:
    try:
        record = json.loads(payload)  # unlike faster ones it keeps whole numbers of any size as they are
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _moment(value: Any) -> str | None:
    try:
        return None if value is None else canonical(value)
    except BadData:
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
