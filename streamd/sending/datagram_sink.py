"""The common base of sinks that send datagrams."""

import asyncio
import errno
import os
import socket
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, TypeVar

from pydantic import Field

from streamd.core.batch import Batch, Record
from streamd.core.contracts import AnyEncoder, Encoded, OriginOf, Sink, SinkContext, Written
from streamd.core.errors import BadData, ConfigError, SinkError
from streamd.core.settings import EncodedSettings, Settings
from streamd.encoders.json import Json
from streamd.encoding.lines import METADATA_NAMES, Lines

_IN_A_ROW = 64
"""Datagrams that are sent before the loop turns."""


class DatagramSinkSettings(EncodedSettings):
    """The settings of all sinks that send datagrams."""

    pack: bool = Field(
        False,
        description="puts the messages of several records into a datagram, one on each line, as many as"
        " max_datagram has room for. Only for encoders whose messages are lines, and for receivers that read"
        " several lines of a datagram, as those of StatsD, InfluxDB and streamd do",
    )

    @property
    @abstractmethod
    def most_bytes(self) -> int:
        """The longest datagram."""


C = TypeVar("C", bound=DatagramSinkSettings)
"""The settings of a sink that sends datagrams."""


class DatagramSink(Sink[C]):
    """Sends each record as one datagram, or several records in one (`pack`).

    A kind of socket has a class of its own, which says where the receiver is and how it is reached.
    """

    counters: ClassVar[Mapping[str, str]] = {}

    def __init__(self, config: C, context: SinkContext) -> None:
        """Raises `ConfigError` if `pack` or `max_datagram` does not fit the encoder."""
        super().__init__(config, context)
        self._encoder = context.encoder or Json(Settings())
        if config.pack:
            _refuse_packed(self._encoder)
        if config.metadata:
            self._encoder.expect(METADATA_NAMES)
        header = self._encoder.header
        self._header = header + self._encoder.line_end if header else b""
        if len(self._header) >= config.most_bytes:
            raise ConfigError(
                f"the header of each datagram has {len(self._header):,} bytes, so no record fits:"
                " name fewer columns, write header = false, or allow more",
                ("max_datagram",),
            )
        self._lines = Lines(context, self._encode, add_metadata=config.metadata)
        self._socket: socket.socket | None = None
        self._out = 0
        """How many messages of the batches being written are already sent; a retry continues behind them."""
        self._sent = 0

    @property
    @abstractmethod
    def receiver(self) -> str:
        """The address or path of the receiver, for messages."""

    @abstractmethod
    async def connect(self) -> socket.socket:
        """A connected, non-blocking socket, so that the kernel reports faults to it. Raises `SinkError`."""

    async def close(self) -> None:
        """Close the socket."""
        self._close()

    @property
    def progress(self) -> int:
        """The number of datagrams that the kernel has taken."""
        return self._sent

    async def write(self, batches: Sequence[Batch]) -> Written:
        """Return once the kernel has accepted every datagram. Raises `SinkError` if it does not."""
        prepared = await self._lines.of(batches)
        while self._out < len(prepared.lines):
            count, datagram = self._next(prepared.lines)
            await self._send(datagram)
            self._out += count
            self._sent += 1
            if self._sent % _IN_A_ROW == 0:
                await asyncio.sleep(0)
        self._out = 0
        self._lines.forget()
        return prepared.written()

    def _next(self, messages: list[bytes]) -> tuple[int, bytes]:
        """The next datagram, and how many messages it holds."""
        start = self._out
        stop = start + 1
        if self.config.pack:
            end = self._encoder.line_end
            room = self.config.most_bytes - len(self._header) - len(messages[start])
            while stop < len(messages) and (room := room - len(end) - len(messages[stop])) >= 0:
                stop += 1
            return stop - start, self._header + end.join(messages[start:stop])
        return 1, self._header + messages[start]

    async def _send(self, datagram: bytes) -> None:
        """Wait until the kernel has taken the datagram. Raises `SinkError`."""
        while True:
            if self._socket is None:
                self._socket = await self.connect()
            try:
                self._socket.send(datagram)
            except BlockingIOError:
                await _writable(self._socket)
            except OSError as error:
                raise self.fault(error) from None
            else:
                return

    def _encode(self, records: list[Record], origin_of: OriginOf) -> Encoded:
        """The messages of the records. One that no datagram has room for, or that would be read as two when
        packed, is rejected.
        """
        encoded = self._encoder.encode(records, origin_of)
        most_bytes = self.config.most_bytes - len(self._header)
        feeds = self.config.pack and self._encoder.line_feeds == "anywhere"
        done = Encoded([], dict(encoded.rejects))
        indexes = (index for index in range(len(records)) if index not in encoded.rejects)
        for index, message in zip(indexes, encoded.messages, strict=True):
            if len(message) > most_bytes:
                detail = f"{len(message)} bytes, and a datagram has room for {most_bytes}"
                done.rejects[index] = BadData("too_long", detail)
            elif feeds and b"\n" in message:
                detail = "a line feed in the message would end it: remove pack"
                done.rejects[index] = BadData("newline", detail)
            else:
                done.messages.append(message)
        done.rejects = dict(sorted(done.rejects.items()))
        return done

    def fault(self, error: OSError) -> SinkError:
        """The error for a retry; the next attempt has a new socket."""
        self._close()
        if error.errno == errno.ECONNREFUSED:
            return SinkError("refused", f"{self.receiver}: nothing listens there")
        text = os.strerror(error.errno) if error.errno else str(error)
        return SinkError("network", f"{self.receiver}: {text}")

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _refuse_packed(encoder: AnyEncoder) -> None:
    if encoder.separation != "newline":
        name = type(encoder).__name__.lower()
        raise ConfigError(f"a receiver of {name} reads one message of a datagram: remove pack", ("pack",))


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(sock)
