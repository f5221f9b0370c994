"""Sends records as datagrams of JSON, syslog or another format to a UDP address."""

import asyncio
import errno
import os
import socket
from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from streamd.core.errors import SinkError
from streamd.core.settings import Address, SinkOutput, SizeBytes
from streamd.net.peer_address import peer_address
from streamd.sending.datagram_sink import DatagramSink, DatagramSinkSettings

LARGEST_BYTES = 65507
"""65,535 less the IPv4 and UDP headers."""
PACKED_BYTES = 1400
"""Fits into one packet of Ethernet, also inside a tunnel."""


class Udp(DatagramSink["Udp.Config"]):
    """Sends each record as one datagram, at most once: as JSON, or as `encoder` says.

    UDP does not acknowledge records: `stored` means that the kernel accepted the datagram. If the receiver's
    host answers that nothing listens at the port, the sink waits and tries again. Each such answer is counted
    as `refused`: at least one datagram before it was lost. A datagram that gets lost on the way is not
    noticed by anybody.

    With `pack` a datagram has several lines, each the message of a record. The books still count records,
    and `refused` datagrams. A format with a header (`csv`) has it in each datagram.

    A record whose message is longer than `max_datagram` is a dead letter (`too_long`). The name of the
    receiver is resolved again after each fault. A flagged record (`truncated`, `unterminated`) has its flag
    as `_flag`.
    """

    opens_beside = True
    in_each_process = True

    counters: ClassVar[Mapping[str, str]] = {
        "refused": "answers that nothing listens at the address; at least one datagram before each was lost,"
        " though it is a part of stored",
    }

    class Config(DatagramSinkSettings):
        """Settings of a UDP sink."""

        address: Annotated[Address, BeforeValidator(peer_address, json_schema_input_type=str)] = Field(
            description="address of the receiver: host:port"
        )
        max_datagram: SizeBytes | None = Field(
            None,
            ge=1,
            le=LARGEST_BYTES,
            description="longest datagram. One over about 1,400 bytes is cut into several packets on the way,"
            " and lost if one of these is. Default: 65507B, or 1400B with pack",
        )

        @property
        def most_bytes(self) -> int:
            """The longest datagram."""
            return self.max_datagram or (PACKED_BYTES if self.pack else LARGEST_BYTES)

        @property
        def outputs(self) -> tuple[SinkOutput, ...]:
            """The receiver's address."""
            return (SinkOutput("udp", str(self.address), key="address"),)

    config: "Udp.Config"

    @property
    def receiver(self) -> str:
        """`host:port`."""
        return str(self.config.address)

    async def open(self) -> None:
        """Do nothing: the receiver need not be there yet."""

    def rehearse(self) -> list[str]:
        """Check nothing: the receiver need not be there yet."""
        return []

    async def close(self) -> None:
        """Count a last answer that nothing listens, and close the socket."""
        if self._socket is not None and self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.context.counters.add("refused")
        await super().close()

    async def connect(self) -> socket.socket:
        """A socket that is connected, so that the kernel reports the answers to it. Raises `SinkError`."""
        loop = asyncio.get_running_loop()
        trouble = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        try:
            found = await loop.getaddrinfo(*self.config.address, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as error:
            raise SinkError("resolve", f"{self.receiver}: {error}") from None
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
        raise self.fault(trouble)

    def fault(self, error: OSError) -> SinkError:
        """The error for a retry. An answer that nothing listens is counted."""
        if error.errno == errno.ECONNREFUSED:
            self.context.counters.add("refused")
        return super().fault(error)
