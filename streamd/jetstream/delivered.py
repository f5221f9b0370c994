"""The messages that a consumer has delivered and that are not acknowledged yet."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

ACK, NAK, WORKING = b"+ACK", b"-NAK", b"+WPI"
_TOKENS_BEFORE_DOMAINS = 9
_TOKENS = 11


class Delivered(NamedTuple):
    """What the reply subject of a message says."""

    stream_sequence: int
    """The number of the message in the stream."""
    consumer_sequence: int
    """The number of the delivery; it has no gaps, and begins anew when the consumer is reset."""
    stored_at_wall_s: float
    """When the stream has stored the message (wall clock of the server, seconds)."""
    times: int
    """How often it was delivered, this time included."""
    pending: int
    """How many messages of the consumer follow it."""


def delivery_of(reply: str) -> Delivered | None:
    """Parse `$JS.ACK.[domain.account.]stream.consumer.times.stream-seq.consumer-seq.time.pending[.random]`.

    None for any other subject.
    """
    parts = reply.split(".")
    if parts[:2] != ["$JS", "ACK"] or len(parts) < _TOKENS_BEFORE_DOMAINS:
        return None
    numbers = parts[4:9] if len(parts) == _TOKENS_BEFORE_DOMAINS else parts[6:11]
    try:
        times, stream_sequence, consumer_sequence, time_ns, pending = map(int, numbers)
    except ValueError:
        return None
    return Delivered(stream_sequence, consumer_sequence, time_ns / 1e9, times, pending)


@dataclass(slots=True)
class _Open:
    reply: str


class Unacknowledged:
    """Keeps the address for the acknowledgement of each message that is being processed."""

    def __init__(self) -> None:
        self._open: dict[int, _Open] = {}
        self.to_send: list[tuple[str, bytes]] = []
        """Acknowledgements that are not sent yet: address and word."""

    def __len__(self) -> int:
        return len(self._open)

    def take(self, sequence: int, reply: str) -> bool:
        """Note a delivered message. False if it is being processed already; then only the address is new."""
        known = self._open.get(sequence)
        if known is not None:
            known.reply = reply
            return False
        self._open[sequence] = _Open(reply)
        return True

    @property
    def open(self) -> Collection[int]:
        """The numbers of the messages."""
        return self._open.keys()

    def address_of(self, sequence: int) -> str:
        """The address for the acknowledgement of a message; empty if it is not being processed."""
        one = self._open.get(sequence)
        return "" if one is None else one.reply

    def clear(self) -> None:
        """Forget all messages and acknowledgements, because another worker has them now."""
        self._open.clear()
        self.to_send.clear()

    def settle(self, sequence: int, word: bytes) -> None:
        """The message was processed (`ACK`) or has to be delivered again (`NAK`)."""
        self.to_send.append((self._open.pop(sequence).reply, word))

    def still_working(self) -> list[tuple[str, bytes]]:
        """What tells the server that the messages are being processed, so that it does not repeat them."""
        return [(one.reply, WORKING) for one in self._open.values()]

    def give_back(self) -> None:
        """Let all messages that are being processed be delivered again."""
        for sequence in list(self._open):
            self.settle(sequence, NAK)
