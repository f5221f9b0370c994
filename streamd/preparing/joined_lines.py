"""Joins the lines of a message, such as a stack trace, before its codec."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from streamd.core.contracts import AnyCodec, BadFrame, Decoded
from streamd.core.errors import ConfigError
from streamd.core.failure import failure_of
from streamd.core.frames import FlaggedFrame, Frames
from streamd.core.multiline_settings import JOINING, MultilineSettings
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.preparing.preparing_codec import PreparingCodec
from streamd.shaping.pattern import Pattern

DIVIDED = "divided"
"""The flag of the parts of a message that is longer than its limits."""
_LATE_S = 0.25
"""A message that is overdue by more was waiting for the daemon, and not for its sender."""


@dataclass(slots=True)
class _OpenMessage:
    """A message that may go on."""

    peer: Peer
    """Kept because its `id` is the key of the message: as long as it lives, no other peer has that `id`."""
    deadline_mono_s: float
    lines: list[bytes]
    size_bytes: int
    """Bytes of the lines with the LF between them."""
    held: list[Frames] = field(default_factory=list)
    """The frames of its lines, from earlier calls."""
    divided: bool = False
    """Whether it is a further part of a message that was divided."""
    postponed: bool = False
    """Whether its deadline was passed late and moved."""


class _Done(NamedTuple):
    """A whole message, or a part of one that was divided."""

    payload: bytes
    last: int
    """The index of its last line in the frames that are released with it."""


class JoinedLines(PreparingCodec):
    """Passes messages of several lines to the codec of the source, joined with LF.

    Each connection and file has a message of its own. Its lines are held until the next message begins, the
    connection ends, or `timeout` passes without a line. A message over `max_lines` or `max_bytes` is divided,
    so no line is lost. The record of a message has the receive time of its last line.

    Cost: a line takes about four times as long as a record of 110 bytes in the codec `json`. Memory: at most
    `max_bytes` and one frame for each connection.
    """

    holds = True
    holds_open = True

    def __init__(self, settings: MultilineSettings, codec: AnyCodec) -> None:
        """Raises `ConfigError` for a codec that reads no lines, and for a pattern whose work has no bound."""
        name = type(codec).__name__.lower()
        if not codec.reads_text:
            raise ConfigError(f"multiline joins lines, and the codec {name} reads no text: remove multiline")
        if codec.holds:
            raise ConfigError(f"the codec {name} keeps frames for frames that follow: remove multiline")
        super().__init__(settings, codec)
        self.counters = {**codec.counters, **JOINING}  # type: ignore[misc]  # its own
        self.settings = settings
        self._starts = _matcher(settings.start, "start")
        self._continues = _matcher(settings.continues, "continues")
        self.messages: OrderedDict[int, _OpenMessage] = OrderedDict()
        """By the `id` of the peer; the message that got no line for longest is the first."""
        self.newest: Peer | None = None
        """The sender of the last frame."""
        self._joins = True

    @property
    def holds_last(self) -> bool:  # type: ignore[override]
        """Whether the held frames are the last ones: those of one message of the newest sender."""
        return not self.messages or (len(self.messages) == 1 and id(self.newest) in self.messages)

    def place_behind(self, *, streams: bool, cut: bool) -> None:
        """Frames that are no part of a stream, such as dead letters, are whole messages."""
        self._joins = streams
        super().place_behind(streams=streams, cut=cut)

    def decode(self, frames: Frames, now: Now) -> Decoded:
        """The records of the messages that these lines complete."""
        if not self._joins:
            return self._codec.decode(frames, now)
        if frames.peers.values is None:
            by_peer: Mapping[int, list[int]] = {id(frames.peers.same): list(range(len(frames)))}
        else:
            by_peer = {}
            for index, peer in enumerate(frames.peers.values):
                by_peer.setdefault(id(peer), []).append(index)
        self.newest = frames.peer(len(frames) - 1)
        released: list[list[int]] = []
        kept: list[list[int]] = []
        taken = [self._take(rows, frames, now) for rows in by_peer.values()]
        for rows, (_, _, left) in zip(by_peer.values(), taken, strict=True):
            cut = len(rows) - left
            released.append(rows[:cut])
            kept.append(rows[cut:])
        parts = frames.sorted_out([*released, *kept])
        done: list[_Done] = []
        whole: list[Frames] = []
        count = 0
        for place, (key, (messages, before, _)) in enumerate(zip(by_peer, taken, strict=True)):
            of_peer = [part for part in (*before, parts[place]) if len(part)]
            done += [message._replace(last=message.last + count) for message in messages]
            count += sum(map(len, of_peer))
            whole += of_peer
            mine = parts[len(taken) + place]
            if len(mine):
                self.messages[key].held.append(mine)
        return self._decoded(whole or [parts[0]], done, now)

    def forget(self, peer: Peer, now: Now) -> Decoded | None:
        """The record of the last message of a connection that has ended."""
        message = self.messages.pop(id(peer), None)
        return None if message is None else self._ended([message], now)

    def tick(self, now: Now) -> Decoded | None:
        """The records of messages whose next line is overdue."""
        due = []
        while self.messages:
            key, message = next(iter(self.messages.items()))
            if message.deadline_mono_s > now.mono_s:
                break
            if now.mono_s - message.deadline_mono_s > _LATE_S and not message.postponed:
                # A sink without room or a busy loop delayed this call: the next line may be in the buffer.
                message.postponed = True
                message.deadline_mono_s = now.mono_s + self.settings.timeout
                self.messages.move_to_end(key)
                continue
            due.append(message)
            del self.messages[key]
        return self._ended(due, now) if due else None

    def next_deadline(self) -> float | None:
        """When the next line of a message is overdue."""
        for message in self.messages.values():
            return message.deadline_mono_s
        return None

    def can_adopt(self, old: AnyCodec) -> bool:
        """Messages go on under the new settings."""
        return isinstance(old, JoinedLines)

    def adopt(self, old: AnyCodec) -> None:
        """Take over the unfinished messages."""
        before = cast("JoinedLines", old)
        self.messages, before.messages = before.messages, OrderedDict()
        self.newest = before.newest
        for message in self.messages.values():
            message.deadline_mono_s += self.settings.timeout - before.settings.timeout

    def finish(self, now: Now) -> Decoded | None:
        """The records of all unfinished messages."""
        messages = list(self.messages.values())
        self.messages.clear()
        return self._ended(messages, now) if messages else None

    def _take(self, rows: list[int], frames: Frames, now: Now) -> tuple[list[_Done], list[Frames], int]:
        """Take the lines of one connection.

        Returns the messages that are complete, the frames held before that belong to them, and how many of
        the last rows belong to the message that is open now. A place `last` counts from the first of the
        frames held before.
        """
        payloads = frames.payloads
        peer = frames.peer(rows[0])
        message = self.messages.pop(id(peer), None)
        before = [] if message is None else message.held
        held_count = sum(map(len, before))
        done: list[_Done] = []
        open_from = 0
        deadline_mono_s = now.mono_s + self.settings.timeout
        for place, row in enumerate(rows):
            line = payloads[row]
            follows, may_go_on = self._kind(line)
            if message is not None and follows and self._fits(message, line):
                message.lines.append(line)
                message.size_bytes += len(line) + 1
                message.deadline_mono_s = deadline_mono_s
                message.postponed = False
                self.count("joined_lines")
                continue
            goes_on = message is not None and follows
            if message is not None:
                done.append(_whole(message, held_count + place - 1, divided=goes_on))
            if goes_on:
                self.count("divided_messages")
            message = None
            open_from = place
            if may_go_on:
                message = _OpenMessage(peer, deadline_mono_s, [line], len(line), divided=goes_on)
            else:
                done.append(_Done(line, held_count + place))
                open_from = place + 1
        if message is None:
            return done, before, 0
        self.messages[id(peer)] = message
        if message.held:  # it has only grown: nothing is complete
            return done, [], len(rows)
        return done, before, len(rows) - open_from

    def _kind(self, line: bytes) -> tuple[bool, bool]:
        """Whether the line continues the message before it, and whether other lines may continue it."""
        if self._continues is None:
            return self._starts is not None and not self._starts(line), True
        if self._continues(line):
            return True, True
        return False, self._starts is None or self._starts(line)

    def _fits(self, message: _OpenMessage, line: bytes) -> bool:
        return (
            len(message.lines) < self.settings.max_lines
            and message.size_bytes + len(line) < self.settings.max_bytes
        )

    def _ended(self, messages: Sequence[_OpenMessage], now: Now) -> Decoded:
        """The records of messages that end although no other has begun."""
        done: list[_Done] = []
        count = 0
        for message in messages:
            count += sum(map(len, message.held))
            done.append(_whole(message, count - 1))
        return self._decoded([part for message in messages for part in message.held], done, now)

    def _decoded(self, parts: list[Frames], done: list[_Done], now: Now) -> Decoded:
        """The records of whole messages, with all their frames."""
        frames = Frames.merge(parts)
        if not done:
            return Decoded([], [], frames=frames)
        last = [message.last for message in done]
        payloads = [message.payload for message in done]
        flagged = any(type(payload) is FlaggedFrame for payload in payloads)
        joined = Frames(payloads, frames.peers.take(last), frames.received_at.take(last), flagged=flagged)
        decoded = _decoded_by(self._codec, joined, now)
        for index, payload in zip(last, payloads, strict=True):
            frames.payloads[index] = payload
        frames.flagged = flagged
        decoded.origins = [last[n] for n in decoded.origins] if decoded.origins is not None else last
        for bad in decoded.rejects:
            bad.index = last[bad.index]
        if decoded.size_bytes is None:
            decoded.size_bytes = self._codec.size_bytes_of(joined, decoded.records)
        decoded.frames = frames
        return decoded


def _decoded_by(codec: AnyCodec, messages: Frames, now: Now) -> Decoded:
    try:
        return codec.decode(messages, now)
    except Exception as error:  # noqa: BLE001 - a fault in a codec of another package costs its frames
        text = failure_of(error).text
        return Decoded(
            [], [], [BadFrame(n, message, "exception", text) for n, message in enumerate(messages.payloads)]
        )


def _matcher(text: str | None, key: str) -> Callable[[bytes], bool] | None:
    """Whether a line matches from its beginning. Of a longer line the first `Pattern.longest` bytes count."""
    if text is None:
        return None
    try:
        pattern = Pattern(text, grouped=False)
    except ValueError as error:
        raise ConfigError(str(error), (key,)) from None
    match, longest = pattern.match, pattern.longest
    return lambda line: match(line[:longest].decode("utf-8", "replace")) is not None


def _whole(message: _OpenMessage, last: int, *, divided: bool = False) -> _Done:
    lines = message.lines
    payload = lines[0] if len(lines) == 1 else b"\n".join(lines)
    flag = next(_flags(lines), DIVIDED if divided or message.divided else "")
    return _Done(FlaggedFrame(payload, flag) if flag else payload, last)


def _flags(lines: list[bytes]) -> Iterator[str]:
    return (line.flag for line in lines if isinstance(line, FlaggedFrame))
