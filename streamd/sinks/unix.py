"""Sends records as JSON, syslog or another format to a unix socket of this host."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from streamd.core.batch import Batch
from streamd.core.contracts import AnySink, Sink, SinkContext, Written
from streamd.core.settings import SinkOutput, SizeBytes
from streamd.sending.datagram_sink import DatagramSinkSettings
from streamd.sending.stream_sink import StreamSink, StreamSinkSettings
from streamd.sending.unix_sinks import UnixDatagramSink, UnixStreamSink

LARGEST_BYTES = 200 << 10
"""Linux takes datagrams of up to 208 KiB less their bookkeeping, unless the host is set otherwise."""
_ONLY_STREAM = {"framing": None, "connect_timeout": 10.0, "confirm_every": 10.0}
_ONLY_DATAGRAM = {"max_datagram": 64 << 10, "pack": False}
"""Options of one mode with their defaults, which may be written out in the other mode too."""


class Unix(Sink["Unix.Config"]):
    """Sends each record as one message to a unix socket, at most once: as JSON, or as `encoder` says.

    `stored` means that the kernel accepted the record. With `mode = "stream"` the rules are those of the sink
    `tcp`: connections are ended in order to learn that all records were read, and those of other ends are
    counted as `unconfirmed`. With `mode = "datagram"`, as `/dev/log` takes them, the kernel puts each
    datagram into the receiver's queue or makes the sink wait; if the receiver ends, the datagrams in its
    queue are lost and not counted.

    While nothing listens at the path, the sink waits and tries again; a receiver that was started again is
    found at the path. A record whose message is longer than `max_datagram` is a dead letter (`too_long`). A
    flagged record (`truncated`, `unterminated`) has its flag as `_flag`.
    """

    opens_beside = True
    in_each_process = True
    counters: ClassVar[Mapping[str, str]] = StreamSink.counters

    class Config(StreamSinkSettings, DatagramSinkSettings):
        """Settings of a unix sink."""

        path: str = Field(
            pattern=r"^[^\x00]+$",
            description="file of the receiver's socket, like /dev/log, relative to state_dir",
        )
        mode: Literal["stream", "datagram"] = Field(
            "stream", description="stream (a connection) or datagram (each message is one, or see `pack`)"
        )
        max_datagram: SizeBytes = Field(
            "64KiB",  # type: ignore[assignment]  # parsed by the validator
            ge=1,
            le=LARGEST_BYTES,
            description='longest datagram; belongs to mode = "datagram"',
        )

        @model_validator(mode="after")
        def _options_belong_to_the_mode(self) -> Self:
            stream = self.mode == "stream"
            for key, plain in (_ONLY_DATAGRAM if stream else _ONLY_STREAM).items():
                if getattr(self, key) != plain:
                    raise ValueError(f'{key} belongs to mode = "{"datagram" if stream else "stream"}"')
            return self

        @property
        def most_bytes(self) -> int:
            """The longest datagram."""
            return self.max_datagram

        @property
        def outputs(self) -> tuple[SinkOutput, ...]:
            """The receiver's socket."""
            return (SinkOutput("unix", self.path),)

    def __init__(self, config: Config, context: SinkContext) -> None:
        super().__init__(config, context)
        inside = UnixStreamSink if config.mode == "stream" else UnixDatagramSink
        self._inside: AnySink = inside(config, context)

    @property
    def progress(self) -> int:
        """The bytes, or the datagrams, that the kernel has taken."""
        return self._inside.progress

    async def open(self) -> None:
        """Check the path. Raises `EnvironmentFault`. The receiver need not be there yet."""
        await self._inside.open()

    def rehearse(self) -> list[str]:
        """Check the path. Raises `EnvironmentFault`."""
        return self._inside.rehearse()

    async def write(self, batches: Sequence[Batch]) -> Written:
        """Return once the kernel has accepted every message. Raises `SinkError` if it does not."""
        return await self._inside.write(batches)

    async def close(self) -> None:
        """End the connection in order, or close the socket."""
        await self._inside.close()
