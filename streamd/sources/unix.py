"""Receives streams or datagrams from processes of this host on a unix socket."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

import structlog
from pydantic import Field, model_validator

from streamd.core.contracts import AnySource, Outlet, Source, SourceContext
from streamd.core.conversion_settings import CompressedDatagrams
from streamd.core.errors import Place
from streamd.core.settings import Component, ComponentSettings, Endpoint, FramingSettings, WhenFull
from streamd.net.connection_settings import ConnectionSettings
from streamd.net.stream_source import StreamSource
from streamd.net.unix_datagrams import UnixDatagrams
from streamd.net.unix_streams import UnixStreams

log = structlog.get_logger()

_ONLY_STREAM = sorted([*ConnectionSettings.__annotations__, "multiline"])


class Unix(Source["Unix.Config"]):
    """Receives streams of frames, or datagrams, on a unix socket.

    Each record's `peer` holds the sender's pid, uid and gid as the kernel reports them:
    `pid=123,uid=1000,gid=1000` (of a stream: those of the process that connected). In fair queueing all
    processes are one sender.
    """

    counters: ClassVar[Mapping[str, str]] = {
        **StreamSource.counters,
        **UnixDatagrams.counters,
    }

    class Config(ConnectionSettings, CompressedDatagrams):
        """A unix socket."""

        path: str = Field(pattern=r"^[^\x00]+$", description="file of the socket, relative to state_dir")
        mode: Literal["stream", "datagram"] = Field(
            "stream",
            description="stream (connections, cut by `framing`) or datagram (each is one frame, or "
            "several with `framing`; max_frame and oversize apply to a frame)",
        )
        framing: Component | None = Field(  # type: ignore[assignment]  # a datagram may have none
            None,
            description="the framing, which cuts the stream or a datagram into frames. Default: newline"
            " for a stream; a datagram is one frame. The end of a datagram ends its last "
            "line",
        )
        permissions: str = Field(
            "0660",
            pattern="^0?[0-7]{3}$",
            description="permissions of the socket, which decide who may send, in octal digits as for chmod",
        )
        group: str | None = Field(None, description="group of the socket. Default: the daemon's group")

        @model_validator(mode="after")
        def _datagrams_have_no_connections(self) -> Self:
            if self.mode == "datagram":
                for key in _ONLY_STREAM:
                    if key in self.model_fields_set:
                        raise ValueError(f'{key} belongs to mode = "stream": there is no connection')
                if self.oversize == "close":
                    raise ValueError('oversize = "close" belongs to mode = "stream": there is no connection')
            return self

        @property
        def endpoints(self) -> tuple[Endpoint, ...]:
            """The socket's path."""
            return (Endpoint("unix", self.path, "path"),)

        @property
        def most_connections(self) -> int:
            """0 in datagram mode, which has no connections."""
            return self.max_connections if self.mode == "stream" else 0

        @property
        def streams(self) -> bool:
            """False in datagram mode: a datagram has no first frame."""
            return self.mode == "stream"

        @property
        def cut_by(self) -> FramingSettings | None:
            """None if datagrams have no configured framing: a datagram is one frame."""
            if self.framing is None and self.mode == "datagram":
                return None
            framing = self.framing or ComponentSettings(type="newline")
            return FramingSettings(framing, self.max_frame, self.oversize)

        @property
        def default_when_full(self) -> WhenFull:
            """Block the senders of streams. Datagram senders, often logging libraries, must not block."""
            return "block" if self.mode == "stream" else "drop_oldest"

    def __init__(self, config: Config, context: SourceContext) -> None:
        super().__init__(config, context)
        inside = UnixStreams if config.mode == "stream" else UnixDatagrams
        self._inside: AnySource = inside(config, context)
        self.address = self._inside.address

    @property
    def open_connections(self) -> int:
        """Connections open now; 0 in datagram mode."""
        return self._inside.open_connections

    async def open(self, outlet: Outlet) -> None:
        """Bind and begin to read. Raises `EnvironmentFault`."""
        await self._inside.open(outlet)
        config = self.config
        log.info(
            "listening", source=self.context.name, protocol=f"unix {config.mode}", address=str(self.address)
        )

    def rehearse(self) -> None:
        """Check the path of the socket. Raises `EnvironmentFault`."""
        self._inside.rehearse()

    @property
    def places(self) -> list[Place]:
        """The socket's path."""
        return [("unix", str(self.address))]

    async def stop(self) -> None:
        """Remove the socket's file, read the datagrams queued in the kernel, and offer all frames read."""
        await self._inside.stop()
