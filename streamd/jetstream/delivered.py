"""The messages that a consumer has delivered and that are not acknowledged yet."""

from dataclasses import dataclass
from typing import NamedTuple

ACK, NAK, WORKING = b"+ACK", b"-NAK", b"+WPI"
_TOKENS_BEFORE_DOMAINS = 9
_TOKENS = 11


class Delivered(NamedTuple):
    """What the reply subject of a message says."""

    stream_sequence: int
    """The number of the message in the stream."""
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
        times, stream_sequence, _, _, pending = map(int, numbers)
    except ValueError:
        return None
    return Delivered(stream_sequence, times, pending)


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
