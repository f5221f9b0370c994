"""Dead letters of a replay: the selection, and each letter as the frame that is sent again."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from streamd.core.batch import METADATA_KEYS, RECEIVED_AT, Record, peer_of
from streamd.core.contracts import Codec
from streamd.core.errors import BadData
from streamd.core.now import Now
from streamd.core.settings import Settings
from streamd.core.timestamp import canonical_or_none
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
"""  # noqa: S608 - no user input
"""Letters of one origin after an id and up to another, limited by number and, approximately, by bytes."""


class Origin(NamedTuple):
    """The origin of letters. All letters of one origin take the same way again.

    `sink` is set if only that sink refused the record; the other sinks have it. `pipeline` is None if the
    frame was refused before any pipeline; it then goes to all pipelines that read the source.
    """

    source: str
    pipeline: str | None
    sink: str | None
    kind: str


@dataclass(slots=True, frozen=True)
class ReplayPlan:
    """The letters of a replay: the selected letters with ids up to `last_id`, and their number by origin."""

    wanted: LetterFilter
    last_id: int
    origins: dict[Origin, int]
    edited: dict[int, bytes] = field(default_factory=dict)
    """Edited payloads by id. Each replaces the payload of its letter."""

    @property
    def letters(self) -> int:
        """The number of letters."""
        return sum(self.origins.values())


def plan(connection: sqlite3.Connection, wanted: LetterFilter, limit: int | None = None) -> ReplayPlan:
    """Select the letters of a replay, with `limit` only the oldest. Letters added later are not included."""
    ((last_id,),) = connection.execute(
        "SELECT coalesce(max(id), 0) FROM"  # noqa: S608 - no user input
        f" (SELECT id FROM dead_letters WHERE {wanted.condition} ORDER BY id LIMIT ?)",
        [*wanted.parameters, -1 if limit is None else limit],
    )
    found = connection.execute(
        f"SELECT {_ORIGIN}, count(*) FROM dead_letters"  # noqa: S608 - no user input
        f" WHERE {wanted.condition} AND id <= ? GROUP BY 1, 2, 3, 4 ORDER BY min(id)",
        [*wanted.parameters, last_id],
    )
    return ReplayPlan(wanted, last_id, {Origin(*origin): count for *origin, count in found})


class Letter(NamedTuple):
    """One dead letter to send again: the bytes for its codec, their sender and their time."""

    id: int
    payload: bytes
    peer: str
    received_at: float


def letters_of(rows: list[tuple[Any, ...]], kind: str, edited: Mapping[int, bytes]) -> list[Letter]:
    """The rows as letters. Records without a JSON form, stored as a string, are left out.

    A payload in `edited` replaces the stored one.
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
            # The letter's columns are those of its batch; a record after a step may have its own in metadata.
            sender = peer_of(record) or sender
            received_at = canonical_or_none(record.get(RECEIVED_AT)) or kept_at
        letters.append(Letter(letter_id, content, sender, datetime.fromisoformat(received_at).timestamp()))
    return letters


class KeptRecord(Codec[Settings]):
    """Decodes a record from its JSON in a dead letter. Its metadata is in other columns of the letter."""

    def decode_one(self, payload: bytes, now: Now) -> Record:
        """The record at the time of its rejection. Bytes in it have become base64 text."""
        del now
        record = _object(payload)
        if record is None:
            raise BadData("json:not_object")
        for key in METADATA_KEYS:
            record.pop(key, None)
        return record


def _object(payload: bytes) -> Record | None:
    try:
        record = json.loads(payload)  # unlike faster parsers it keeps integers of any size exact
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
