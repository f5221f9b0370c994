"""Chunks of GELF messages: a message that is longer than a datagram is sent in up to 128 of them.

A chunk begins with 1E 0F, the id of its message (8 bytes), its number (from 0) and the number of chunks.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.plural import counted

MAGIC = b"\x1e\x0f"
HEADER_BYTES = 12
MOST_CHUNKS = 128
OVERHEAD_BYTES = 1024
"""Memory of a waiting chunk beyond its bytes, at most."""


@dataclass(slots=True)
class Chunk:
    """A chunk of a message that is not complete."""

    payload: bytes
    """The whole frame."""
    index: int
    """Its index among the frames of the current call."""
    frames: Frames | None = None
    """The frame with its sender, time and ack, once the call is over."""
    ended: bool = False
    """Whether its message is complete or was given up."""


class EndedMessage(NamedTuple):
    """A message that waits no longer: its chunks in order, and why it was given up; None if it is whole."""

    chunks: list[Chunk]
    fault: BadData | None

    @property
    def text(self) -> bytes:
        """The content of all chunks."""
        return b"".join([memoryview(chunk.payload)[HEADER_BYTES:] for chunk in self.chunks])


@dataclass(slots=True)
class ChunkLimits:
    """How much may wait, for how long (seconds)."""

    timeout_s: float
    messages: int
    messages_of_sender: int
    size_bytes: int
    bytes_of_sender: int
    message_bytes: int
    """Longest content of one message."""


@dataclass(slots=True)
class _Message:
    sender: str
    total: int
    started_s: float
    size_bytes: int = 0
    content_bytes: int = 0
    chunks: dict[int, Chunk] = field(default_factory=dict)


@dataclass(slots=True)
class _Use:
    """What the waiting messages of all senders or of one use."""

    messages: int = 0
    size_bytes: int = 0


def header_of(payload: bytes) -> tuple[bytes, int, int]:
    """The id of the message, the number of the chunk and the number of chunks. Raises `BadData`."""
    if len(payload) < HEADER_BYTES:
        raise BadData("gelf:chunk", f"{len(payload)} bytes, and the header of a chunk has {HEADER_BYTES}")
    number, total = payload[10], payload[11]
    if not 1 <= total <= MOST_CHUNKS:
        raise BadData("gelf:chunk", f"a message has 1 to {MOST_CHUNKS} chunks, not {total}")
    if number >= total:
        raise BadData("gelf:chunk", f"number {number} (from 0) of {counted(total, 'chunk')}")
    return payload[2:10], number, total


class GelfChunks:
    """The messages of which some chunks have come.

    A message belongs to its sender, so no other sender can add to it. The limits of memory are for all
    messages and for those of one sender. A message may begin only while less than half of them is used, and
    the other half is for messages that have begun: a flood of first chunks does not stop them.
    """

    def __init__(self, limits: ChunkLimits) -> None:
        self.limits = limits
        self._waiting: OrderedDict[tuple[str, bytes], _Message] = OrderedDict()
        """In the order of their first chunks. An OrderedDict finds its first item in constant time."""
        self._all = _Use()
        self._senders: dict[str, _Use] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, sender: str, chunk: Chunk, mono_s: float) -> EndedMessage | None:
        """Take a chunk; returns its message if the chunk completes it or makes it too large.

        Raises `BadData` for a chunk that is not taken.
        """
        message_id, number, total = header_of(chunk.payload)
        key = sender, message_id
        message = self._waiting.get(key)
        if total == 1 and message is None:
            return _ended([chunk])
        if message is None:
            self._check_room(sender)
            message = self._waiting[key] = _Message(sender, total, mono_s)
            self._use(sender, 1, 0)
        elif total != message.total:
            raise BadData("gelf:chunk", f"{counted(total, 'chunk')}, but {message.total} in an earlier chunk")
        elif number in message.chunks:
            raise BadData("gelf:duplicate", f"chunk {number} of {total} has come before")
        message.chunks[number] = chunk
        message.content_bytes += len(chunk.payload) - HEADER_BYTES
        size_bytes = len(chunk.payload) + OVERHEAD_BYTES
        message.size_bytes += size_bytes
        self._use(sender, 0, size_bytes)
        if len(message.chunks) == total:
            fault = None
            if message.content_bytes > self.limits.message_bytes:
                fault = BadData("gelf:size", "the message is longer than max_message")
            return self._end(key, fault)
        if fault := self._fault_of(message):
            return self._end(key, fault)
        return None

    def next_deadline(self) -> float | None:
        """When the oldest message is given up (monotonic clock, seconds)."""
        if not self._waiting:
            return None
        return next(iter(self._waiting.values())).started_s + self.limits.timeout_s

    def restart(self, mono_s: float) -> None:
        """Give every message its whole time again, from now on."""
        for message in self._waiting.values():
            message.started_s = mono_s

    def expire(self, mono_s: float) -> list[EndedMessage]:
        """The messages whose time is over."""
        ended: list[EndedMessage] = []
        while (deadline := self.next_deadline()) is not None and deadline <= mono_s:
            key, message = next(iter(self._waiting.items()))
            ended.append(self._end(key, _incomplete(message, f"in {self.limits.timeout_s:g} s")))
        return ended

    def end(self) -> list[EndedMessage]:
        """Give up all messages."""
        waiting = list(self._waiting.items())
        return [self._end(key, _incomplete(message, "before the end")) for key, message in waiting]

    def _check_room(self, sender: str) -> None:
        """Raise `BadData` if no further message may begin."""
        limits, of_sender = self.limits, self._senders.get(sender) or _Use()
        if of_sender.messages >= limits.messages_of_sender:
            raise BadData("gelf:limit", f"{of_sender.messages} messages of this sender are incomplete")
        if self._all.messages >= limits.messages:
            raise BadData("gelf:limit", f"{self._all.messages} messages are incomplete")
        if of_sender.size_bytes * 2 >= limits.bytes_of_sender:
            raise BadData("gelf:limit", "the chunks of this sender use half of max_waiting_per_sender")
        if self._all.size_bytes * 2 >= limits.size_bytes:
            raise BadData("gelf:limit", "waiting chunks use half of max_waiting")

    def _fault_of(self, message: _Message) -> BadData | None:
        """Why an incomplete message is given up; None if it may go on."""
        if message.content_bytes > self.limits.message_bytes:
            return BadData("gelf:size", "the message is longer than max_message")
        if self._senders[message.sender].size_bytes > self.limits.bytes_of_sender:
            return BadData("gelf:limit", "the chunks of this sender use all of max_waiting_per_sender")
        if self._all.size_bytes > self.limits.size_bytes:
            return BadData("gelf:limit", "waiting chunks use all of max_waiting")
        return None

    def _use(self, sender: str, messages: int, size_bytes: int) -> None:
        of_sender = self._senders.setdefault(sender, _Use())
        for use in (self._all, of_sender):
            use.messages += messages
            use.size_bytes += size_bytes
        if not of_sender.messages:
            del self._senders[sender]

    def _end(self, key: tuple[str, bytes], fault: BadData | None) -> EndedMessage:
        message = self._waiting.pop(key)
        self._use(message.sender, -1, -message.size_bytes)
        return _ended([message.chunks[number] for number in sorted(message.chunks)], fault)


def _ended(chunks: Iterable[Chunk], fault: BadData | None = None) -> EndedMessage:
    ended = EndedMessage(list(chunks), fault)
    for chunk in ended.chunks:
        chunk.ended = True
    return ended


def _incomplete(message: _Message, when: str) -> BadData:
    return BadData("gelf:incomplete", f"{len(message.chunks)} of {message.total} chunks came {when}")
