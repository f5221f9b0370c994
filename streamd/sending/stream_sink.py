"""The common base of sinks that send messages over a connection."""

import asyncio
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import structlog
from pydantic import Field

from streamd.core.batch import Batch
from streamd.core.contracts import Separation, Sink, SinkContext, Written
from streamd.core.errors import EnvironmentFault, SinkError
from streamd.core.settings import DurationS, EncodedSettings, Settings
from streamd.encoders.json import Json
from streamd.encoding.lines import Lines
from streamd.encoding.separated import Separated
from streamd.net.confirmed_connection import Broken, ConfirmedConnection

log = structlog.get_logger()

_LAST_CLOSE_S = 2.0
"""Longest wait, at the end of the daemon, for the peer to confirm that it has read everything."""


class StreamSinkSettings(EncodedSettings):
    """The settings of all sinks that send over a connection."""

    framing: Separation | None = Field(
        None,
        description="newline (each record is a line), octet_counting (each follows its length in bytes"
        " and a space, RFC 6587), nul (a NUL behind each) or none (for formats whose messages end by"
        " themselves). Default: that of the encoder, which is newline for most",
    )
    connect_timeout: DurationS = Field(
        "10s",  # type: ignore[assignment]  # parsed by the validator
        gt=0,
        description="longest time to make a connection, or to end it in order",
    )
    confirm_every: DurationS = Field(
        "10s",  # type: ignore[assignment]  # parsed by the validator
        gt=0,
        description="how long a connection is used before its orderly end confirms its records; the"
        " longer, the more records are `unconfirmed` if the connection ends otherwise",
    )


C = TypeVar("C", bound=StreamSinkSettings)
"""The settings of a sink that sends over a connection."""


class StreamSink(Sink[C]):
    """Sends each record as one message over a connection, and counts those that the peer may not have read.

    A kind of connection has a class of its own, which says where the peer is and how it is reached.
    """

    counters: ClassVar[Mapping[str, str]] = {
        "unconfirmed": "part of stored: records sent over connections that ended before the peer was known to"
        " have read them; at most this many were lost",
    }

    def __init__(self, config: C, context: SinkContext) -> None:
        super().__init__(config, context)
        metadata = config.metadata
        self._separated = Separated(
            context.encoder or Json(Settings()), config.framing, add_metadata=metadata
        )
        self._lines = Lines(context, self._separated.encode, add_metadata=metadata)
        self._connection: ConfirmedConnection | None = None
        self._out = 0
        """How many lines of the batches being written are already sent; a retry continues behind them."""
        self._writing: asyncio.Task[Any] | None = None
        self._confirming: asyncio.Task[None] | None = None
        self._confirm_due: asyncio.TimerHandle | None = None
        self._using = asyncio.Lock()
        """Held by the one write or orderly end that uses the connection."""

    @property
    @abstractmethod
    def receiver(self) -> str:
        """The address or path of the peer, for messages."""

    @abstractmethod
    async def connect(self) -> ConfirmedConnection:
        """A new connection. Raises `Broken` or `EnvironmentFault`."""

    async def close(self) -> None:
        """End the connection in order. If the peer answers that end, its records are confirmed."""
        if self._confirm_due is not None:  # of two waits for the same socket only the second would wake
            self._confirm_due.cancel()
        for task in (self._writing, self._confirming):  # a write may still run if the drain timed out
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait({task})
        await self._end(min(_LAST_CLOSE_S, self.config.connect_timeout))

    @property
    def progress(self) -> int:
        """The bytes that the kernel has taken for the open connection."""
        return 0 if self._connection is None else self._connection.sent_bytes

    async def write(self, batches: Sequence[Batch]) -> Written:
        """Return once the kernel has accepted every frame. Raises `SinkError` if the connection fails."""
        self._writing = asyncio.current_task()
        try:
            async with self._using:
                return await self._write(batches)
        finally:
            self._writing = None

    async def _write(self, batches: Sequence[Batch]) -> Written:
        prepared = await self._lines.of(batches)
        if self._out < len(prepared.lines):
            connection = await self._connected()
            frames = prepared.lines[self._out :]
            if not connection.records:
                frames[0] = self._separated.header + frames[0]
            already = connection.records
            try:
                await connection.send(frames)
            except Broken as broken:
                self._out += connection.records - already
                raise SinkError(broken.reason, f"{self.receiver}: {broken.detail}") from None
            finally:
                if connection.broken is not None:
                    self._lost(connection)
        self._out = 0
        self._lines.forget()
        return prepared.written()

    async def _connected(self) -> ConfirmedConnection:
        """The open connection, or a new one. Raises `SinkError`."""
        connection = self._connection
        if connection is not None and not connection.is_open():
            self._lost(connection)
        if self._connection is None:
            try:
                self._connection = await self.connect()
            except Broken as broken:
                raise SinkError(broken.reason, f"{self.receiver}: {broken.detail}") from None
            except EnvironmentFault as fault:
                raise SinkError("tls_failed", str(fault)) from None
            self._confirm_due = asyncio.get_running_loop().call_later(
                self.config.confirm_every, self._begin_to_confirm
            )
        return self._connection

    def _begin_to_confirm(self) -> None:
        # A task that still waits for the lock will end this connection too.
        if self._confirming is None or self._confirming.done():
            self._confirming = asyncio.create_task(self._confirm(), name=f"confirm {self.context.name}")

    async def _confirm(self) -> None:
        """End the connection in order, between two writes or while the sink is idle."""
        async with self._using:
            await self._end(self.config.connect_timeout)

    async def _end(self, timeout_s: float) -> None:
        connection = self._connection
        if connection is not None:
            await connection.end(timeout_s)
            self._lost(connection)

    def _lost(self, connection: ConfirmedConnection) -> None:
        """Close a connection that is over, and count the records that the peer did not confirm."""
        self._connection = None
        if self._confirm_due is not None:
            self._confirm_due.cancel()
        connection.close()
        if connection.unconfirmed:
            self.context.counters.add("unconfirmed", connection.unconfirmed)
            log.warning(
                "connection_lost",
                sink=self.context.name,
                address=self.receiver,
                reason=connection.broken and connection.broken.reason,
                sent=connection.records,
                unconfirmed=connection.unconfirmed,
            )
