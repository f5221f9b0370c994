"""Books the result of a codec and makes batches of it."""

from operator import attrgetter
from typing import Any

import structlog

from streamd.core.batch import FLAG, Batch, copied, copied_value
from streamd.core.contracts import AnyCodec, BadFrame, Decoded
from streamd.core.dead_letter import DeadLetter, DeadLetterStore
from streamd.core.failure import failure_of
from streamd.core.frames import FlaggedFrame, Frames, RefusedFrame
from streamd.core.now import Now
from streamd.core.peer import plain_of
from streamd.core.printable import printable
from streamd.core.schema import Schema
from streamd.runtime.feed import Feed
from streamd.runtime.redaction import SourceRedaction

log = structlog.get_logger()


def decode(codec: AnyCodec, frames: Frames, now: Now) -> Decoded:
    """The records of the frames. If the codec raises an exception, the frames are rejected.

    Of a codec that holds frames it is not known which of them it has kept, so its exceptions are passed on.
    """
    try:
        return codec.decode(frames, now)
    except Exception as error:
        if codec.holds:
            raise
        text = failure_of(error).text
        rejects = [BadFrame(n, payload, "exception", text) for n, payload in enumerate(frames.payloads)]
        return Decoded([], [], rejects)


def without_refused(frames: Frames) -> tuple[Frames | None, Frames | None, Decoded]:
    """The frames to decode, those that their source refuses, and the rejects of these."""
    refused = [index for index, frame in enumerate(frames.payloads) if type(frame) is RefusedFrame]
    rejects = []
    for place, index in enumerate(refused):
        frame: Any = frames.payloads[index]
        rejects.append(BadFrame(place, bytes(frame), frame.reason, frame.detail))
    decoded = Decoded([], [], rejects)
    if not refused:
        return frames, None, decoded
    if len(refused) == len(frames):
        return None, frames, decoded
    out = set(refused)
    good, bad = frames.sorted_out([[n for n in range(len(frames)) if n not in out], refused])
    return good, bad, decoded


def redacted(
    feed: Feed, redaction: SourceRedaction, frames: Frames, decoded: Decoded
) -> tuple[Frames, Decoded]:
    """The frames with redacted senders and the result of the codec without personal data.

    The schema is checked before: a field that is dropped here was not missing.
    """
    frames = redaction.frames(frames)
    decoded = redaction.withheld(frames, decoded)
    if feed.checks is not None:
        feed.checks.count(batch_of(feed, frames, decoded))
    decoded = redaction.redacted(decoded)
    redaction.count(feed.frames.counters)
    return frames, decoded


def book_decoded(feed: Feed, frames: Frames, decoded: Decoded, dead_letters: DeadLetterStore) -> None:
    """Count the records and rejects of the frames, and keep the rejects as dead letters.

    A reject also counts for the rule of the schema that rejected it.
    """
    book = feed.frames
    bad_elements = 0
    bad_frames = 0
    if decoded.rejects:
        letters = []
        pipeline = feed.routes[0].pipeline.name if len(feed.routes) == 1 else None
        alarming = feed.codec.alarming
        checks = feed.checks
        checked = 0
        rejects = sorted(decoded.rejects, key=attrgetter("index"))
        for bad in rejects:
            peer = frames.peer(bad.index)
            rules = () if checks is None else checks.count_reject(bad, peer)
            checked += len(rules)
            if bad.element:
                bad_elements += 1
            else:
                bad_frames += 1
                book.rejected[bad.reason] += 1
            if bad.reason in alarming:
                log.warning(
                    "frames_unusable",
                    source=book.source,
                    peer=peer,
                    reason=bad.reason,
                    why=printable(bad.detail),
                )
            letters.append(
                DeadLetter(
                    bad.payload,
                    "decode",
                    bad.reason,
                    bad.detail,
                    source=book.source,
                    peer=peer,
                    received_at=frames.time(bad.index),
                    pipeline=pipeline,
                    rules=rules,
                )
            )
        if checks is not None and checked:
            checks.count_checked(checked)
        indexes = [bad.index for bad in rejects]
        dead_letters.keep(letters, frames.acks and frames.acks.fork_at(indexes))
    for route in feed.routes:  # first: after a kill between the two, no record is missing in every book
        route.records.taken_in += len(decoded.records) + bad_elements
        if bad_elements:
            route.records.rejected["decode"] += bad_elements
    book.decoded += len(frames) - bad_frames
    if counts := feed.codec.counts:
        book.counters.declare(feed.codec.counters)
        for name, n in counts.items():
            book.counters.add(name, n)
        counts.clear()


def batch_of(feed: Feed, frames: Frames, decoded: Decoded) -> Batch:
    """A batch of the records. Each record has the sender, the time and the ack of its frame."""
    records = decoded.records
    size_bytes = decoded.size_bytes
    if size_bytes is None:
        size_bytes = feed.codec.size_bytes_of(frames, records)
    schema = feed.codec.schema if decoded.typed else None
    peers, received_at, acks = frames.peers.map(plain_of), frames.received_at, frames.acks
    origins = decoded.origins
    if origins is not None:
        peers, received_at = peers.take(origins), received_at.take(origins)
        acks = acks and acks.of_origins(origins, together=decoded.frames is not None)
    if acks is not None and feed.codec.holds and feed.codec.holds_open:
        # A part whose records are stored may have a frame that the codec still holds.
        acks = acks.without_origins()
    if frames.flagged:
        if schema is not None:
            records = list(map(schema.to_dict, records))
            schema = None
        for record, origin in zip(records, origins or range(len(records)), strict=True):
            payload = frames.payloads[origin]
            if isinstance(payload, FlaggedFrame):
                record[FLAG] = payload.flag
    return Batch(
        records if schema is None else schema.flatten(records),
        feed.frames.source,
        feed.routes[0].pipeline.name,
        peers,
        received_at,
        fields=None if schema is None else schema.names,
        acks=acks,
        size_bytes=size_bytes if schema is None else size_bytes // 2,
    )


def copy_for_route(batch: Batch, schema: Schema | None) -> Batch:
    """A copy of the batch for one more pipeline, whose steps may change its dicts and lists.

    `schema` is that of the codec. If none of its fields is a dict or list, flat values are shared.
    """
    records: list[Any]
    if batch.fields is None:
        records = list(map(copied, batch.records))
    elif schema is not None and schema.open:
        records = list(map(copied_value, batch.records))
    else:
        records = batch.records
    return Batch(
        records,
        batch.source,
        batch.pipeline,
        batch.peers,
        batch.received_at,
        fields=batch.fields,
        acks=batch.acks,
        size_bytes=batch.size_bytes,
    )
