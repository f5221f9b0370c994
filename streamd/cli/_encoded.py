"""`--as` of `streamd send`: the records of the lines are sent in another format."""

import argparse
import socket
import time
import tomllib
from collections.abc import Iterable, Iterator

from streamd.client.connection import Connection, TcpConnection
from streamd.config import component
from streamd.core.contracts import AnyEncoder, RecordOrigin
from streamd.core.errors import BadData, ConfigError
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.plural import counted
from streamd.core.printable import printable
from streamd.core.settings import ComponentSettings
from streamd.encoding.separated import Separated


def encoding(options: argparse.Namespace) -> "RecordEncoding":
    """The format that `--as` names. Raises `ConfigError`."""
    try:
        cls, settings = component("encoders", _spec(options.encoder))
        encoder: AnyEncoder = cls(settings)
        return RecordEncoding(encoder, Separated(encoder, options.framing, add_metadata=False))
    except ConfigError as error:
        raise ConfigError(f"--as: {error}") from None


def _spec(text: str) -> ComponentSettings:
    """Raises `ConfigError`."""
    if not text.lstrip().startswith("{"):
        return ComponentSettings(type=text)
    try:
        table = tomllib.loads(f"encoder = {text.strip()}")["encoder"]
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"no table of TOML: {error}") from None
    if not isinstance(table.get("type"), str):
        raise ConfigError('the table needs type, like { type = "syslog" }')
    return ComponentSettings.model_validate(table)


class RecordEncoding:
    """Encodes the records of lines, and counts those that have no message."""

    def __init__(self, encoder: AnyEncoder, separated: Separated) -> None:
        self._encoder = encoder
        self._separated = separated
        codec, settings = component("codecs", ComponentSettings(type="auto"))
        self._codec = codec(settings, None)
        self._in_stream = True
        self._host = f"{socket.gethostname()}:0"  # a sender is a host and a port
        self._origin = RecordOrigin(time.time(), self._host, "send")
        self.refused = 0
        self._first = ""

    @property
    def trouble(self) -> str:
        """How many records were not sent, and why the first of them was not."""
        return f"{counted(self.refused, 'record')} not sent; the first: {self._first}"

    def begin(self, connection: Connection) -> None:
        """Send what the format has at the beginning of a stream, and learn whether it is one."""
        self._in_stream = isinstance(connection, TcpConnection)
        if self._in_stream and self._separated.header:
            connection.send([self._separated.header])
            connection.sent_records = 0

    def of(self, batches: Iterable[list[bytes]]) -> Iterator[list[bytes]]:
        """The messages of the lines."""
        for lines in batches:
            now_s = time.time()
            decoded = self._codec.decode(Frames.of(lines, self._host, now_s), Now(now_s, 0.0))
            for reject in decoded.rejects:
                self._refuse(BadData(reason=reject.reason, detail=reject.detail))
            self._origin = RecordOrigin(now_s, self._host, "send")
            encode = self._separated.encode if self._in_stream else self._encoder.encode
            done = encode(decoded.records, self._origin_of)
            for bad in done.rejects.values():
                self._refuse(bad)
            yield done.messages if self._in_stream else self._as_datagrams(done.messages)

    def _origin_of(self, index: int) -> RecordOrigin:
        del index
        return self._origin

    def _as_datagrams(self, messages: list[bytes]) -> list[bytes]:
        """Each message as a datagram, which begins with the header of the format."""
        header = self._encoder.header
        return [header + self._encoder.line_end + message for message in messages] if header else messages

    def _refuse(self, bad: BadData) -> None:
        self.refused += 1
        self._first = self._first or printable(str(bad), 200)
