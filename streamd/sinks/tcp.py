"""Sends records as JSON, syslog or another format to a TCP address, such as another streamd."""

import asyncio
from typing import Annotated

from pydantic import BeforeValidator, Field

from streamd.core.settings import Address, SinkOutput
from streamd.net.client_tls import ClientTls, ClientTlsSettings, Session
from streamd.net.confirmed_connection import Broken, ConfirmedConnection, connect
from streamd.net.peer_address import peer_address
from streamd.sending.stream_sink import StreamSink, StreamSinkSettings


class Tcp(StreamSink["Tcp.Config"]):
    """Sends each record as one message over a TCP connection, at most once: as JSON, or as `encoder` says.

    TCP does not acknowledge records: `stored` means that the kernel accepted the record. The sink ends each
    connection in order when it is `confirm_every` old. If the peer answers that end with its own, it has read
    everything. If a connection ends in any other way, also if the peer closes it first, all records that it
    carried are counted as `unconfirmed`: at most that many were lost, and none is sent again.

    Records that the kernel did not accept are sent on the next connection. The sink retries without end.
    With `tls` no record is sent before both sides have agreed on TLS, and the certificate files are read
    again for each connection. Before each connection with records the sink makes and ends an empty one, to
    learn whether the peer accepts its certificate. A flagged record (`truncated`, `unterminated`) has its
    flag as `_flag`.
    """

    # The empty connection is needed because the alert of a peer that refuses the sink's certificate, or
    # misses one, may arrive only after records were sent.

    opens_beside = True
    in_each_process = True

    class Config(StreamSinkSettings):
        """Settings of a TCP sink."""

        address: Annotated[Address, BeforeValidator(peer_address, json_schema_input_type=str)] = Field(
            description="address of the receiver: host:port"
        )
        tls: ClientTlsSettings = Field(ClientTlsSettings(), description="TLS; off without ca")

        @property
        def outputs(self) -> tuple[SinkOutput, ...]:
            """The receiver's address."""
            return (SinkOutput("tcp", str(self.address), key="address"),)

    config: "Tcp.Config"

    @property
    def receiver(self) -> str:
        """`host:port`."""
        return str(self.config.address)

    async def open(self) -> None:
        """Check the certificate files. Raises `EnvironmentFault`. The peer need not be reachable yet."""
        await self._read_tls()

    def rehearse(self) -> list[str]:
        """Check the certificate files. Raises `EnvironmentFault`."""
        ClientTls.read(self.config.tls, self.context.base_dir)
        return []

    async def connect(self) -> ConfirmedConnection:
        """A connection on which TLS is agreed. Raises `Broken` or `EnvironmentFault`."""
        tls = await self._read_tls()
        if tls is not None:
            first = await self._connect_once(tls)
            try:
                await first.end(tls.settings.handshake_timeout)
            finally:
                first.close()
            if not first.confirmed:
                why = first.broken.detail if first.broken is not None else "it did not end its side in order"
                raise Broken("tls_failed", f"the peer did not end an empty session in order: {why}")
        return await self._connect_once(tls)

    async def _connect_once(self, tls: ClientTls | None) -> ConfirmedConnection:
        address = self.config.address
        try:
            session = None if tls is None else Session(tls, address.host)
        except ValueError as error:
            raise Broken("tls_failed", f"no certificate can name that host: {error}") from None
        connection = await connect(address, self.config.connect_timeout)
        if tls is not None and session is not None:
            await connection.secure(session, tls.settings.handshake_timeout)
        return connection

    async def _read_tls(self) -> ClientTls | None:
        if self.config.tls.ca is None:
            return None
        return await asyncio.to_thread(ClientTls.read, self.config.tls, self.context.base_dir)
