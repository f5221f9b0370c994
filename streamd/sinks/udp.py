"""Sends records as datagrams of JSON, syslog or another format to a UDP address."""

import asyncio
import errno
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from streamd.core.batch import Batch, Record
from streamd.core.contracts import Encoded, OriginOf, Sink, SinkContext, Written
from streamd.core.errors import BadData, SinkError
from streamd.core.settings import Address, EncodedSettings, Settings, SinkOutput, SizeBytes
from streamd.encoders.json import Json
from streamd.encoding.lines import METADATA_NAMES, Lines
from streamd.net.peer_address import peer_address

LARGEST_BYTES = 65507
"""65,535 less the IPv4 and UDP headers."""
_IN_A_ROW = 64
"""Datagrams that are sent before the loop turns."""


class Udp(Sink["Udp.Config"]):
    """Sends each record as one datagram, at most once: as JSON, or as `encoder` says.

    UDP does not acknowledge records: `stored` means that the kernel accepted the datagram. If the receiver's
    host answers that nothing listens at the port, the sink waits and tries again. Each such answer is counted
    as `refused`: at least one datagram before it was lost. A datagram that gets lost on the way is not
    noticed by anybody.

    A record whose message is longer than `max_datagram` is a dead letter (`too_long`). A format with a header
    (`csv`) has it in each datagram. The name of the receiver is resolved again after each fault. A flagged
    record (`truncated`, `unterminated`) has its flag as `_flag`.
    """

    opens_beside = True
    in_each_process = True

    counters: ClassVar[Mapping[str, str]] = {
        "refused": "answers that nothing listens at the address; at least one datagram before each was lost,"
        " though it is a part of stored",
    }

    class Config(EncodedSettings):
        """Settings of a UDP sink."""

        address: Annotated[Address, BeforeValidator(peer_address, json_schema_input_type=str)] = Field(
            description="address of the receiver: host:port"
        )
        max_datagram: SizeBytes = Field(
            "65507B",  # type: ignore[assignment]  # parsed by the validator
            ge=1,
            le=LARGEST_BYTES,
            description="longest datagram. Datagrams over about 1,400 bytes are cut into several packets on"
            " the way, and lost if one of these is",
        )

        @property
        def outputs(self) -> tuple[SinkOutput, ...]:
            """The receiver's address."""
            return (SinkOutput("udp", str(self.address), key="address"),)

    config: "Udp.Config"

    def __init__(self, config: Config, context: SinkContext) -> None:
        super().__init__(config, context)
        self._encoder = context.encoder or Json(Settings())
        if config.metadata:
            self._encoder.expect(METADATA_NAMES)
        header = self._encoder.header
        self._header = header + self._encoder.line_end if header else b""
        self._lines = Lines(context, self._encode, add_metadata=config.metadata)
        self._socket: socket.socket | None = None
        self._out = 0
        """How many datagrams of the batches being written are already sent; a retry continues behind them."""
        self._sent = 0

    async def open(self) -> None:
        """Do nothing: the receiver need not be there yet."""

    def rehearse(self) -> list[str]:
        """Check nothing: the receiver need not be there yet."""
        return []

    async def close(self) -> None:
        """Count a last answer that nothing listens, and close the socket."""
        if self._socket is not None and self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.context.counters.add("refused")
        self._close()

    @property
    def progress(self) -> int:
        """The number of datagrams that the kernel has taken."""
        return self._sent

    async def write(self, batches: Sequence[Batch]) -> Written:
        """Return once the kernel has accepted every datagram. Raises `SinkError` if it does not."""
        prepared = await self._lines.of(batches)
        while self._out < len(prepared.lines):
            if self._socket is None:
                self._socket = await self._connect()
            try:
                self._socket.send(prepared.lines[self._out])
            except BlockingIOError:
                await _writable(self._socket)
                continue
            except OSError as error:
                raise self._fault(error) from None
            self._out += 1
            self._sent += 1
            if self._out % _IN_A_ROW == 0:
                await asyncio.sleep(0)
        self._out = 0
        self._lines.forget()
        return prepared.written()

    def _encode(self, records: list[Record], origin_of: OriginOf) -> Encoded:
        """The datagrams of the records; a record whose datagram would be too long is rejected."""
        encoded = self._encoder.encode(records, origin_of)
        most_bytes = self.config.max_datagram - len(self._header)
        done = Encoded([], dict(encoded.rejects))
        indexes = (index for index in range(len(records)) if index not in encoded.rejects)
        for index, message in zip(indexes, encoded.messages, strict=True):
            if len(message) <= most_bytes:
                done.messages.append(self._header + message)
            else:
                detail = f"{len(message)} bytes, and a datagram has room for {most_bytes}"
                done.rejects[index] = BadData("too_long", detail)
        done.rejects = dict(sorted(done.rejects.items()))
        return done

    async def _connect(self) -> socket.socket:
        """A socket that is connected, so that the kernel reports the answers to it. Raises `SinkError`."""
        loop = asyncio.get_running_loop()
        trouble = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        try:
            found = await loop.getaddrinfo(*self.config.address, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as error:
            raise SinkError("resolve", f"{self.config.address}: {error}") from None
        for family, kind, protocol, _, where in found:
            connected = socket.socket(family, kind, protocol)
            try:
                connected.setblocking(False)
                connected.connect(where)
            except OSError as error:
                connected.close()
                trouble = error
            else:
                return connected
        raise self._fault(trouble)

    def _fault(self, error: OSError) -> SinkError:
        """The error for a retry; the next attempt has a new socket."""
        self._close()
        if error.errno == errno.ECONNREFUSED:
            self.context.counters.add("refused")
            return SinkError("refused", f"{self.config.address}: nothing listens there")
        return SinkError("network", f"{self.config.address}: {error.strerror or error}")

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(sock)
