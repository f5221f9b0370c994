"""Puts between messages what separates them in a file or stream."""

from collections.abc import Callable

from streamd.core.batch import Record
from streamd.core.contracts import AnyEncoder, Encoded, OriginOf, Separation
from streamd.core.errors import BadData, ConfigError
from streamd.encoding.lines import METADATA_NAMES


class Separated:
    """Makes messages of records with an encoder, each with what separates it from the next.

    With `newline`, a message of a format without a rule for line feeds that has one is rejected (`newline`),
    with `nul` a message that has a NUL (`nul`). Adds a third to the time of the encoder
    `json`, and half of it with `octet_counting`.
    """

    def __init__(self, encoder: AnyEncoder, separation: Separation | None, *, add_metadata: bool) -> None:
        """Without `separation` it is that of the encoder. Raises `ConfigError` if the two do not fit."""
        self._encoder = encoder
        self.separation: Separation = separation or encoder.separation
        if self.separation == "newline" and not encoder.line_end:
            raise ConfigError(
                'newline would end a message of this encoder too early: write "none" or "octet_counting"',
                ("framing",),
            )
        if self.separation == "none" and encoder.line_end:
            raise ConfigError(
                'with "none" nobody finds the end of a message: write "newline" or "octet_counting"',
                ("framing",),
            )
        if add_metadata:
            encoder.expect(METADATA_NAMES)
        self._around, self._forbidden = self._rule()

    @property
    def header(self) -> bytes:
        """What a file or stream begins with; may be empty."""
        header = self._encoder.header
        return self._around(header) if header else b""

    def encode(self, records: list[Record], origin_of: OriginOf) -> Encoded:
        """The messages of all records."""
        done = self._encoder.encode(records, origin_of)
        if self._forbidden and any(self._forbidden in message for message in done.messages):
            done = self._without_forbidden(done, len(records))
        if self.separation != "none":
            around = self._around
            done.messages = [around(message) for message in done.messages]
        return done

    def _rule(self) -> tuple[Callable[[bytes], bytes], bytes]:
        """What is put around a message, and the byte that must not be in it."""
        if self.separation == "octet_counting":
            return _counted, b""
        if self.separation == "none":
            return (lambda message: message), b""
        if self.separation == "nul":
            return (lambda message: message + b"\0"), b"\0"
        end = self._encoder.line_end
        return (lambda message: message + end), b"\n" if self._encoder.line_feeds == "anywhere" else b""

    def _without_forbidden(self, encoded: Encoded, count: int) -> Encoded:
        """Reject each message that would be read as two."""
        name = "a line feed" if self._forbidden == b"\n" else "a NUL"
        indexes = [index for index in range(count) if index not in encoded.rejects]
        rejects = dict(encoded.rejects)
        kept = []
        for index, message in zip(indexes, encoded.messages, strict=True):
            if self._forbidden in message:
                detail = f"{name} in the message would end it: use octet_counting"
                rejects[index] = BadData(self.separation, detail)
            else:
                kept.append(message)
        return Encoded(kept, dict(sorted(rejects.items())))


def _counted(message: bytes) -> bytes:
    return b"%d %b" % (len(message), message)
