"""Counts what a schema checks while a source is decoded: null values, and rejects by field."""

from datetime import datetime
from itertools import compress
from typing import Any

from streamd.core.batch import Batch
from streamd.core.contracts import BadFrame
from streamd.core.peer import Peer
from streamd.core.quality import Quality, RuleCount, RuleKey
from streamd.core.schema import Schema

NULL, TYPE, RANGE = "schema:null", "schema:type", "schema:range"
"""The rules that each declared field has; `RANGE` only for numbers."""
_RULES = {"schema:required": NULL, "schema:range": RANGE}
_REASONS = ("schema:", "timestamp:")
"""The beginnings of the reasons for which a schema rejects."""
_NUMBERS = ("int", "float")


class SchemaChecks:
    """Counts the rules of the schema of one source.

    A record with several bad fields counts for the first of them, because the codec rejects it there. A null
    value of an optional field counts as failed, although the record goes on. Costs 2 µs for a batch of 7
    fields, and 0.01 µs for each record and optional field.
    """

    def __init__(self, source: str, schema: Schema, quality: Quality) -> None:
        self._source = source
        self._quality = quality
        self._counts: list[RuleCount] = []
        self._taken = -1
        self._keys = [
            (name, rule)
            for name, field in schema.fields.items()
            for rule in ((NULL, TYPE, RANGE) if field.type in _NUMBERS else (NULL, TYPE))
        ]
        self._places: dict[tuple[str | None, str], int] = {key: place for place, key in enumerate(self._keys)}
        self._rules = [(RuleKey(source, "", rule, name),) for name, rule in self._keys]
        self._names_with_colon = sorted(
            [name for name in schema.fields if ": " in name], key=len, reverse=True
        )
        self._optional = [
            (index, name, self._places[name, NULL])
            for index, (name, field) in enumerate(schema.fields.items())
            if not field.required
        ]
        self._times = [
            (index, name, self._places[name, NULL])
            for index, (name, field) in enumerate(schema.fields.items())
            if field.type == "timestamp"
        ]

    def count_reject(self, bad: BadFrame, peer: Peer) -> tuple[RuleKey, ...]:
        """Count a reject from `peer` as failed. Returns its rule; none if the schema did not reject it.

        The caller passes the number of rejects with a rule to `count_checked`. A reject with a rule costs
        1 µs, another one 0.1 µs.
        """
        if not bad.reason.startswith(_REASONS):
            return ()
        place = self._places.get((self._field_of(bad.detail), _RULES.get(bad.reason, TYPE)))
        if place is None:
            return ()
        count = self._current()[place]
        count.failed += 1
        if peer:
            count.add_senders({peer.host or peer.plain: 1})
        return self._rules[place]

    def count_checked(self, records: int) -> list[RuleCount]:
        """Count records as checked by every rule. Returns the counts of all rules."""
        counts = self._current()
        for count in counts:
            count.checked += records
        return counts

    def _field_of(self, detail: str) -> str | None:
        """The field that a detail begins with. The name may contain the text behind it, `: `."""
        for name in self._names_with_colon:
            if detail.startswith(f"{name}: "):
                return name
        name, colon, _ = detail.partition(": ")
        return name if colon else None

    def count(self, batch: Batch) -> None:
        """Count the records of a decoded batch, before it is lifted."""
        if not batch.records:
            self._current()
            return
        counts = self.count_checked(len(batch))
        for index, name, place in self._optional:
            values = self._values(batch, index, name)
            if nulls := len([1 for value in values if value is None]):
                counts[place].failed += nulls
                self._count_senders(counts[place], batch, values, nulls)
        for index, name, place in self._times:
            counts[place].note_lag(_lag_s(batch, index, name))

    def _current(self) -> list[RuleCount]:
        quality = self._quality
        if self._taken != quality.taken:
            self._taken = quality.taken
            self._counts = [quality.of(self._source, "", rule, field) for field, rule in self._keys]
        return self._counts

    @staticmethod
    def _values(batch: Batch, index: int, name: str) -> list[Any]:
        if batch.fields is not None:
            return batch.records[index :: len(batch.fields)]
        return [record.get(name) for record in batch.records]

    @staticmethod
    def _count_senders(count: RuleCount, batch: Batch, values: list[Any], nulls: int) -> None:
        if batch.peers.values is None:
            if host := _host(batch.peers.same):
                count.add_senders({host: nulls})
        else:
            count.sent_by(compress(batch.peers.of(len(values)), [value is None for value in values]))


def _host(peer: str) -> str:
    return Peer(peer).host or peer


def _lag_s(batch: Batch, index: int, name: str) -> float | None:
    """Seconds from the time in the first record to its receipt."""
    value = batch.records[index] if batch.fields is not None else batch.records[0].get(name)
    try:
        return batch.first_received_at - datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
