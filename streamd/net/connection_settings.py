"""The settings of every source that accepts connections."""

from typing import Self

from pydantic import Field

from streamd.core.conversion_settings import CompressedInput
from streamd.core.settings import DurationS
from streamd.core.stream_settings import StreamSettings


class ConnectionSettings(StreamSettings, CompressedInput):
    """Settings of every source that accepts connections."""

    max_connections: int = Field(
        1024,
        ge=1,
        description="connections at one time; further ones are closed at once and counted. In "
        "addition to the buffer, each may hold one unfinished frame of at most "
        "max_frame",
    )
    max_connections_per_sender: int | None = Field(
        None,
        ge=1,
        description="connections at one time from one IP address (unix: from one user); further "
        "ones are closed at once and counted. Hosts behind one gateway are one sender. "
        "Default: no limit",
    )
    max_accept_rate: int | None = Field(
        None,
        ge=1,
        description="new connections a second from all senders together, and the largest burst; "
        "further ones are closed at once and counted. Default: no limit",
    )
    first_byte_timeout: DurationS = Field(  # type: ignore[assignment]  # parsed by the validator
        "60s", description="a connection that has sent no byte after this time is closed and counted"
    )
    frame_timeout: DurationS = Field(  # type: ignore[assignment]  # parsed by the validator
        "60s",
        description="longest time from the beginning of a frame to its end, even if bytes still "
        "trickle in; beyond it the connection is closed and counted",
    )
    idle_timeout: DurationS | None = Field(
        None,
        description="a connection that was silent for this time after its first byte is closed and "
        "counted. Default: never (tcp: the kernel's keepalive finds connections whose "
        "host is gone)",
    )

    def share(self, count: int) -> Self:
        """The settings of one process: the limits for all senders together are divided."""
        rate = self.max_accept_rate
        return (
            super()
            .share(count)
            .model_copy(
                update={
                    "max_connections": max(1, self.max_connections // count),
                    "max_accept_rate": None if rate is None else max(1, rate // count),
                }
            )
        )

    @property
    def most_connections(self) -> int:
        """The limit of connections for all senders together."""
        return self.max_connections
