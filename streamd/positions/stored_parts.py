"""Sorts out which records of batches a sink has stored before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streamd.core.batch import Batch
from streamd.core.column import Column
from streamd.core.contracts import Written
from streamd.core.tenure import BEGINNING, InputPart, StoredUpTo, Tenure

ALREADY_STORED, HANDED_OVER = "already_stored", "handed_over"
UNKNOWN = "unknown"
"""The reason for which a sink ends a tenure that never began there, as after a reload. Its source begins
anew."""
FENCED = "fenced"
"""The reason for which a sink ends a tenure whose input another process has claimed."""

Claim = tuple[Tenure, str]
"""A tenure, and the pipeline through which its records come to the sink."""


@dataclass(slots=True)
class _Reached:
    stored: StoredUpTo
    """Up to where records are stored."""
    came: StoredUpTo
    """Up to where records have come to the sink in this tenure."""


@dataclass(slots=True)
class SortedOut:
    """The records of some batches that are to be stored."""

    batches: Sequence[Batch]
    """What is left of the batches, without empty ones. A batch of which nothing is left out is the same
    object."""
    marks: dict[Claim, _Reached] = field(default_factory=dict)
    _places: list[int] = field(default_factory=list)
    """The place of each of `batches` among the sorted ones."""
    _kept: list[list[int] | None] = field(default_factory=list)
    """The indexes of the records of each sorted batch that are left; None for all."""
    _left_out: list[Mapping[int, str]] = field(default_factory=list)

    @property
    def moves(self) -> dict[Claim, StoredUpTo]:
        """The new position of each claim, to be stored with the records."""
        return {claim: mark.stored for claim, mark in self.marks.items()}

    @property
    def left_out(self) -> int:
        """The number of records that are left out."""
        return sum(map(len, self._left_out))

    def written(self, part: Written) -> Written:
        """The result for the sorted batches, made of the one for `batches`."""
        if not self.left_out:
            return part
        count = len(self._kept)
        whole = Written.whole(count)
        dropped: list[Mapping[int, str]] = [{} for _ in range(count)]
        for index, place in enumerate(self._places):
            kept = self._kept[place]
            rejected = part.rejected[index]
            whole.rejected[place] = rejected if kept is None else [kept[row] for row in rejected]
            whole.replaced[place] = part.replaced[index]
            if part.dropped:
                gone = part.dropped[index]
                dropped[place] = gone if kept is None else {kept[row]: why for row, why in gone.items()}
        whole.dropped = dropped if part.dropped else None
        whole.left_out = self._left_out
        return whole


class StoredParts:
    """The positions of one sink, by tenure and pipeline. `sort_out` changes nothing until `stored`."""

    def __init__(self) -> None:
        self._marks: dict[Claim, _Reached] = {}
        self._last: tuple[Sequence[Batch], SortedOut] | None = None

    def begin(self, claim: Claim, position: StoredUpTo) -> None:
        """The records of a tenure will come from one of its parts on; those up to `position` are stored.

        Earlier tenures of the same input are forgotten.
        """
        tenure, pipeline = claim
        self._marks = {
            one: reached
            for one, reached in self._marks.items()
            if (one[0].sequence, one[1]) != (tenure.sequence, pipeline)
        }
        self._marks[claim] = _Reached(position, BEGINNING)

    def sort_out(self, batches: Sequence[Batch]) -> SortedOut:
        """The records that are not stored yet. Costs about a microsecond for each ack of a batch.

        A retry with the same batches has the same result, unless a tenure has ended.
        """
        if self._last is not None and self._last[0] is batches:
            found = self._last[1]
            if not any(tenure.ended for tenure, _ in found.marks):
                return found
        kept_batches: list[Batch] = []
        found = SortedOut(kept_batches)
        for place, batch in enumerate(batches):
            left_out: dict[int, str] = {}
            spans: list[tuple[int, int]] = []
            for start, stop, ack in batch.acks or ((0, len(batch), None),):
                if ack is None or ack.origin is None or self._is_unknown(ack.origin, batch.pipeline):
                    spans.append((start, stop))
                    continue
                first, reason = self._first_new(ack.origin, batch.pipeline, stop - start, found.marks)
                if first:
                    left_out.update(dict.fromkeys(range(start, start + first), reason))
                if start + first < stop:
                    spans.append((start + first, stop))
            found._left_out.append(left_out)  # noqa: SLF001 - it is made here
            found._kept.append(None if not left_out else [n for span in spans for n in range(*span)])  # noqa: SLF001 - the same
            if not left_out:
                kept_batches.append(batch)
                found._places.append(place)  # noqa: SLF001 - the same
            elif spans:
                kept_batches.append(_joined(batch, spans))
                found._places.append(place)  # noqa: SLF001 - the same
        self._last = batches, found
        return found

    def _is_unknown(self, origin: InputPart, pipeline: str) -> bool:
        """Whether nobody else reads the input, and no position in it is stored."""
        return not origin.tenure.is_shared and (origin.tenure, pipeline) not in self._marks

    def _first_new(
        self, origin: InputPart, pipeline: str, count: int, marks: dict[Claim, _Reached]
    ) -> tuple[int, str]:
        """How many of the next `count` records of a part are left out, and why. Moves the mark in `marks`."""
        tenure, number = origin.tenure, origin.number
        claim = tenure, pipeline
        mark = marks.get(claim) or self._marks.get(claim)
        if mark is None:
            tenure.end(UNKNOWN)
        if tenure.ended or mark is None:
            return count, HANDED_OVER
        before = mark.came.rows if mark.came.number == number else 0
        came = StoredUpTo(number, before + count)
        marks[claim] = _Reached(max(mark.stored, came), came)
        if number > mark.stored.number:
            return 0, ""
        if number < mark.stored.number:
            return count, ALREADY_STORED
        return min(count, max(0, mark.stored.rows - before)), ALREADY_STORED

    def stored(self, sorted_out: SortedOut) -> None:
        """The records of `sorted_out` and its `moves` are committed."""
        self._last = None
        for claim, mark in sorted_out.marks.items():
            if claim in self._marks:
                self._marks[claim] = mark


def _joined(batch: Batch, spans: Sequence[tuple[int, int]]) -> Batch:
    """The records of some parts of the batch, without acks."""
    size_bytes = batch.size_bytes // max(1, len(batch))
    parts = [batch.part(start, stop, None, size_bytes * (stop - start)) for start, stop in spans]
    if len(parts) == 1:
        return parts[0]
    whole = parts[0]
    return Batch(
        [value for part in parts for value in part.records],
        whole.source,
        whole.pipeline,
        Column.merge([(part.peers, len(part)) for part in parts]),
        Column.merge([(part.received_at, len(part)) for part in parts]),
        fields=whole.fields,
        lifted=whole.lifted,
        size_bytes=sum(part.size_bytes for part in parts),
    )
