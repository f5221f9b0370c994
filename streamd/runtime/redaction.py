"""Redacts what a codec returns for the frames of one source, before anything of it is kept or logged."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Protocol

from streamd.core.batch import Record
from streamd.core.contracts import BadFrame, Decoded
from streamd.core.counters import Counters
from streamd.core.dead_letter import Withheld
from streamd.core.frames import FlaggedFrame, Frames
from streamd.core.peer import Peer

TRUNCATED = "truncated"
"""The flag of frames that were cut at `max_frame`, and the reason for which they are rejected here."""
PLACEHOLDER = b"<withheld by redact"
"""The beginning of the text in the place of bytes that are not kept."""
COUNTERS = {"redacted": "values and texts that were masked, hashed, truncated or removed, by rule"}
"""The counters of a source with rules."""
FAILED = "redact"
"""The reason for a record that cannot be redacted."""


class Redacts(Protocol):
    """Redacts records and the bytes of frames."""

    def record(self, record: Record) -> Record:
        """The record without personal data."""

    def payload(self, payload: bytes) -> bytes:
        """The bytes without personal data, or a text that begins with `PLACEHOLDER`."""

    def take_counts(self) -> Mapping[str, int]:
        """The number of changes by rule since the last call."""


class SourceRedaction:
    """The option `redact` of a source.

    Everything behind it sees redacted values only: dead letters, logs, steps with their state, sinks. The
    bytes of a frame that could not be decoded are kept only if the redactor finds the personal data in them.
    The detail of a reject may quote a part of the bytes, so only the name of a declared field is kept of it.
    """

    def __init__(
        self,
        redactor: Redacts | None,
        peer: Callable[[Peer], Peer] | None = None,
        fields: Collection[str] = (),
    ) -> None:
        """`redactor` is None if only senders are redacted.

        `peer` redacts a sender; None keeps it. `fields` are the names that the schema declares.
        """
        self.peer = peer
        self._redactor = redactor
        self._fields = fields

    @property
    def changes_records(self) -> bool:
        """Whether records are redacted, which must be dicts then; False if only senders are."""
        return self._redactor is not None

    def payload(self, payload: bytes) -> bytes:
        """The bytes of a frame as they may be kept and shown; `Withheld` if that is nothing."""
        if self._redactor is None:
            return payload
        kept = self._redactor.payload(payload)
        # Only the JSON parser knows what an escape means, and it has refused these bytes.
        if kept.startswith(PLACEHOLDER) or (b"\\" in payload and not _is_json(payload)):
            return _nothing_of(payload)
        return kept

    def frames(self, frames: Frames) -> Frames:
        """The frames with redacted senders. The frames in buffers keep theirs, for fairness and limits."""
        if self.peer is None:
            return frames
        return Frames(
            frames.payloads,
            frames.peers.map(self.peer),
            frames.received_at,
            acks=frames.acks,
            flagged=frames.flagged,
            size_bytes=frames.size_bytes,
        )

    def withheld(self, frames: Frames, decoded: Decoded) -> Decoded:
        """`decoded` with placeholders for the content of rejects. The records are unchanged.

        A frame that was cut at `max_frame` is rejected: no detector finds half a value.
        """
        if self._redactor is None:
            return decoded
        if frames.flagged:
            decoded = _without_cut_frames(frames, decoded)
        if not decoded.rejects:
            return decoded
        return replace(decoded, rejects=list(map(self._withheld, decoded.rejects)))

    def redacted(self, decoded: Decoded) -> Decoded:
        """`decoded` with redacted records. A record for which that fails is rejected without its content."""
        if self._redactor is None:
            return decoded
        redact = self._redactor.record
        records: list[Record] = []
        failed: list[int] = []
        for place, record in enumerate(decoded.records):
            try:
                records.append(redact(record))
            except Exception:  # noqa: BLE001 - the text of the exception may quote the record
                failed.append(place)
        if not failed:
            return replace(decoded, records=records)
        origins = decoded.origins or range(len(decoded.records))
        lost = set(failed)
        return replace(
            decoded,
            records=records,
            origins=[origin for place, origin in enumerate(origins) if place not in lost],
            rejects=[
                *decoded.rejects,
                *(
                    BadFrame(origins[place], Withheld(PLACEHOLDER + b">"), FAILED, element=True)
                    for place in failed
                ),
            ],
        )

    def count(self, counters: Counters) -> None:
        """Add what was redacted since the last call to the counters of the source."""
        if self._redactor is None:
            return
        counters.declare(COUNTERS)
        for rule, n in self._redactor.take_counts().items():
            counters.add("redacted", n, rule)

    def _withheld(self, bad: BadFrame) -> BadFrame:
        named = [name for name in self._fields if bad.detail.startswith(f"{name}: ")]
        detail = f"{max(named, key=len)}: withheld" if named else ""
        kept = bad.payload if isinstance(bad.payload, Withheld) else self.payload(bad.payload)
        return replace(bad, payload=kept, detail=detail)


def _nothing_of(payload: bytes) -> Withheld:
    return Withheld(PLACEHOLDER + b": %d bytes>" % len(payload))


def _is_json(payload: bytes) -> bool:
    try:
        json.loads(payload)
    except (ValueError, RecursionError):
        return False
    return True


def _without_cut_frames(frames: Frames, decoded: Decoded) -> Decoded:
    """`decoded` with one reject for each frame that was cut, instead of its records and rejects."""
    cut = {
        index
        for index, payload in enumerate(frames.payloads)
        if isinstance(payload, FlaggedFrame) and payload.flag == TRUNCATED
    }
    if not cut:
        return decoded
    origins = decoded.origins or range(len(decoded.records))
    kept = [place for place, origin in enumerate(origins) if origin not in cut]
    return replace(
        decoded,
        records=[decoded.records[place] for place in kept],
        origins=[origins[place] for place in kept],
        rejects=[bad for bad in decoded.rejects if bad.index not in cut]
        + [BadFrame(index, _nothing_of(frames.payloads[index]), TRUNCATED) for index in sorted(cut)],
    )
