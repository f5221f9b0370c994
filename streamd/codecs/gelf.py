"""The codec `gelf`."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self, cast

from pydantic import Field, model_validator

from streamd.core.batch import Record
from streamd.core.contracts import AnyCodec, BadFrame, Codec, Decoded, Frame
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.gelf_chunks import (
    HEADER_BYTES,
    MAGIC,
    Chunk,
    ChunkLimits,
    EndedMessage,
    GelfChunks,
    header_of,
)
from streamd.core.gelf_message import normalise, time_of, without_underscores
from streamd.core.inflate import inflate, is_compressed
from streamd.core.json_rules import (
    BYTE_ORDER_MARK,
    CONTAINER_BYTES,
    check_rules,
    containers_in,
    decode_fast,
    decode_object,
    find_refused,
    without_nul,
)
from streamd.core.listed import listed
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.core.schema import Schema
from streamd.core.settings import DurationS, Settings, SizeBytes
from streamd.core.timestamp import from_epoch

_OF_CHUNKS = (
    "chunk_timeout", "max_incomplete", "max_incomplete_per_sender", "max_waiting", "max_waiting_per_sender",
)  # fmt: skip
"""The options for chunks."""
_LATE_S = 0.5
"""A `tick` that is later than this shows that frames could not be decoded meanwhile."""


class Gelf(Codec["Gelf.Config"]):
    """Decodes messages of GELF 1.1 and 1.0, as they are or compressed with gzip or zlib, also in chunks.

    A record has the fields of the message: `version`, `host`, `short_message`, `full_message`, `timestamp`,
    `level`. An additional field loses the underscore at its beginning (`_user` becomes `user`), unless the
    message or GELF has a field of that name: `_host` and `_id` stay. `timestamp` becomes a time; without it,
    the record has the time of receipt. A text in `level` becomes a number. A `message` takes the place of a
    `short_message` that is missing or blank.

    A message without a text (`gelf:message`), with a `host` that is no text or blank (`gelf:host`), or with a
    `level` that is no integer (`gelf:level`) is rejected, and so is one that the codec `json` rejects
    (`json:syntax` and others), or whose compressed data is broken (`compressed:syntax`) or longer than
    `max_message` (`compressed:size`).

    The datagrams of a message in chunks are held until the last one comes. They are rejected together if one
    is missing after `chunk_timeout` or at a stop (`gelf:incomplete`), if they are too long (`gelf:size`), or
    if all the memory is used (`gelf:limit`). Alone are rejected a chunk with a wrong header or another number
    of chunks than the first (`gelf:chunk`), one that has come before (`gelf:duplicate`), and the chunks of a
    new message while half of the memory is used (`gelf:limit`). A sender is an address without its port.

    At TCP use the framing `nul`; there are no chunks and no compression at TCP in GELF, but a compressed
    message is accepted in every frame.
    """

    brings: ClassVar[Mapping[str, str | Mapping[str, object]]] = {
        "timestamp": "timestamp",
        "host": {"type": "str", "required": False},
        "level": {"type": "int", "required": False},
        "short_message": "str",
        "full_message": {"type": "str", "required": False},
        "version": {"type": "str", "required": False},
    }

    class Config(Settings):
        """The limits of messages and of chunks that wait for others."""

        max_message: SizeBytes = Field(
            "8MiB",
            ge=1,
            validate_default=True,
            description="longest message, after its chunks are joined and after it is decompressed",
        )
        chunk_timeout: DurationS = Field(
            "5s",
            gt=0,
            validate_default=True,
            description="time from the first to the last chunk of a message",
        )
        max_incomplete: int = Field(4096, ge=1, description="most messages of which chunks are missing")
        max_incomplete_per_sender: int = Field(1024, ge=1, description="most of them from one sender")
        max_waiting: SizeBytes = Field(
            "64MiB",
            validate_default=True,
            description="memory for chunks that wait for others, each with 1 KiB for itself. A message begins"
            " only while half of it is free",
        )
        max_waiting_per_sender: SizeBytes = Field(
            "16MiB", validate_default=True, description="as max_waiting, for the chunks of one sender"
        )

        @model_validator(mode="after")
        def _one_sender_has_a_part(self) -> Self:
            if self.max_incomplete_per_sender > self.max_incomplete:
                raise ValueError("max_incomplete_per_sender is at most max_incomplete")
            if self.max_waiting_per_sender > self.max_waiting:
                raise ValueError("max_waiting_per_sender is at most max_waiting")
            return self

    def __init__(self, config: "Gelf.Config", schema: Schema | None) -> None:
        super().__init__(config, schema)
        self.holds = True
        declared = schema.fields.get("timestamp") if schema is not None else None
        self._makes_times = declared is None
        self._adds_times = declared is None or declared.type == "timestamp"
        self._inflated_bytes = self._containers = 0
        self.chunks = GelfChunks(
            ChunkLimits(
                config.chunk_timeout,
                config.max_incomplete,
                config.max_incomplete_per_sender,
                config.max_waiting,
                config.max_waiting_per_sender,
                config.max_message,
            )
        )

    def place_behind(self, *, streams: bool, cut: bool) -> None:
        """Chunks are datagrams, so in a stream no frame is held. Raises ValueError for their options."""
        del cut
        if streams and (idle := [name for name in _OF_CHUNKS if name in self.config.model_fields_set]):
            raise ValueError(f"a stream has no chunks: remove {listed(idle)}")
        self.holds = not streams

    def decode(self, frames: Frames, now: Now) -> Decoded:
        """The records of all messages that are complete, in the order of their last frames."""
        self._inflated_bytes = self._containers = 0
        count = len(frames)
        parts = [n for n, payload in enumerate(frames.payloads) if payload.startswith(MAGIC)]
        if not parts or not self.holds:
            done = self._whole(frames) or self.decode_each(frames, range(count), now)
        elif len(parts) == count:
            done = self._with_chunks(Decoded([], []), frames, parts, now)
        else:
            others = sorted(set(range(count)).difference(parts))
            done = self._with_chunks(self.decode_each(frames, others, now), frames, parts, now)
        decoded_bytes = (frames if done.frames is None else done.frames).size_bytes + self._inflated_bytes
        done.size_bytes = decoded_bytes * self.weight + CONTAINER_BYTES * self._containers
        return done

    def decode_frame(self, frame: Frame, now: Now) -> Record:
        """The record of a message in one frame. Raises `BadData` for one of several chunks."""
        del now
        payload = frame.payload
        if payload.startswith(MAGIC):
            total = header_of(payload)[2]
            if total > 1:
                raise BadData("gelf:chunk", f"one of {total} chunks, and only datagrams can be chunks")
            payload = payload[HEADER_BYTES:]
        return self._record(payload, frame.received_at)

    def tick(self, now: Now) -> Decoded | None:
        """Give up messages whose chunks did not come in time.

        If no frame could be decoded for a while, for example because a sink was blocked, chunks may be in the
        buffer. Then all messages get their whole time again.
        """
        deadline = self.chunks.next_deadline()
        if deadline is not None and now.mono_s - deadline > _LATE_S:
            self.chunks.restart(now.mono_s)
        return _given_up(self.chunks.expire(now.mono_s))

    def next_deadline(self) -> float | None:
        """When the oldest incomplete message is given up."""
        return self.chunks.next_deadline()

    def can_adopt(self, old: AnyCodec) -> bool:
        """Whether `old` holds chunks too."""
        return isinstance(old, Gelf) and old.holds and self.holds

    def adopt(self, old: AnyCodec) -> None:
        """Take over the chunks that wait."""
        before = cast("Gelf", old)
        limits = self.chunks.limits
        self.chunks, before.chunks = before.chunks, self.chunks
        self.chunks.limits = limits

    def finish(self, now: Now) -> Decoded | None:
        """Give up all incomplete messages."""
        del now
        return _given_up(self.chunks.end())

    def _whole(self, frames: Frames) -> Decoded | None:
        """The records of messages in one frame each; None if one of them is no object that JSON allows.

        Costs half as much as to decode them one by one.
        """
        try:
            texts = list(map(self._text, frames.payloads))
            messages = list(map(decode_fast, texts))
        except (ValueError, RecursionError, BadData):
            self._inflated_bytes = 0
            return None
        if find_refused(texts, messages):
            self._inflated_bytes = 0
            return None
        self._containers = containers_in(b"".join(texts))
        done = Decoded([], [])
        origins: list[int] = []
        times = frames.received_at.of(len(frames))
        for index, (message, received_at) in enumerate(zip(messages, times, strict=False)):
            try:
                done.records.append(self._record_of(message, received_at))
                origins.append(index)
            except BadData as bad:
                done.rejects.append(BadFrame(index, frames.payloads[index], bad.reason, bad.detail))
        done.origins = origins
        return done

    def _with_chunks(self, done: Decoded, frames: Frames, parts: list[int], now: Now) -> Decoded:
        """`done`, the result of the other frames, with the messages that the chunks at `parts` complete.

        Chunks of messages that stay incomplete are taken out of the frames. Chunks of earlier calls whose
        message has ended are put behind them.
        """
        origins = list(done.origins or ())
        records = list(zip(origins, done.records, strict=True))
        rejects = done.rejects
        fresh: list[Chunk] = []
        released: list[Chunk] = []
        for index in parts:
            payload = frames.payloads[index]
            chunk = Chunk(payload, index)
            try:
                ended = self.chunks.add(_sender(frames.peer(index)), chunk, now.mono_s)
            except BadData as bad:
                rejects.append(BadFrame(index, payload, bad.reason, bad.detail))
                continue
            fresh.append(chunk)
            if ended is None:
                continue
            before = [one for one in ended.chunks if one.frames is not None]
            for place, one in enumerate(before, len(frames) + len(released)):
                one.index = place
            released += before
            try:
                if ended.fault is not None:
                    raise ended.fault
                records.append((index, self._record(ended.text, frames.time(index))))
            except BadData as bad:
                rejects += _rejects(ended, bad)
        held = [chunk.index for chunk in fresh if not chunk.ended]
        records.sort(key=lambda made: made[0])
        kept = sorted(set(range(len(frames))).difference(held))
        order = [*kept, *range(len(frames), len(frames) + len(released))]
        places = {index: place for place, index in enumerate(order)}
        here, *waiting = frames.sorted_out([kept, *[[index] for index in held]])
        for chunk, its_frame in zip([one for one in fresh if not one.ended], waiting, strict=True):
            chunk.frames = its_frame
        for reject in rejects:
            reject.index = places[reject.index]
        return Decoded(
            [record for _, record in records],
            [places[index] for index, _ in records],
            sorted(rejects, key=lambda bad: bad.index),
            frames=Frames.merge([here, *_frames(released)]),
        )

    def _record(self, payload: bytes, received_at: float) -> Record:
        """The record of a message. Raises `BadData`."""
        text = self._text(payload)
        message = decode_object(text)
        self._containers += containers_in(text)
        check_rules(message)
        return self._record_of(message, received_at)

    def _text(self, payload: bytes) -> bytes:
        """The JSON of a message. Raises `BadData`."""
        if payload[:1] == b"{":
            return payload if payload[-1:] == b"}" else without_nul(payload)
        if is_compressed(payload):
            size_bytes = len(payload)
            payload = inflate(payload, self.config.max_message)
            self._inflated_bytes += max(0, len(payload) - size_bytes)
        return without_nul(payload.removeprefix(BYTE_ORDER_MARK))

    def _record_of(self, message: dict[str, Any], received_at: float) -> Record:
        """The record of a message, which is changed. Raises `BadData`."""
        if message.get("timestamp") is None:
            if self._adds_times:
                message["timestamp"] = from_epoch(received_at)
        elif self._makes_times:
            message["timestamp"] = time_of(message["timestamp"])
        normalise(message)
        record = without_underscores(message)
        return record if self.schema is None else self.schema.check(record)


def _sender(peer: Peer) -> str:
    """The host, because chunks of a message may come from several ports; the name of a peer without one."""
    return peer.host or peer


def _frames(chunks: list[Chunk]) -> list[Frames]:
    return [chunk.frames for chunk in chunks if chunk.frames is not None]


def _rejects(ended: EndedMessage, bad: BadData) -> list[BadFrame]:
    return [BadFrame(chunk.index, chunk.payload, bad.reason, bad.detail) for chunk in ended.chunks]


def _given_up(messages: list[EndedMessage]) -> Decoded | None:
    """The chunks of all messages as rejects; None without a message."""
    released: list[Chunk] = []
    rejects: list[BadFrame] = []
    for ended in messages:
        for place, chunk in enumerate(ended.chunks, len(released)):
            chunk.index = place
        released += ended.chunks
        if ended.fault is not None:
            rejects += _rejects(ended, ended.fault)
    return Decoded([], [], rejects, frames=Frames.merge(_frames(released))) if released else None
