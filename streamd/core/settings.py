"""Types of the configuration language that components share: durations, sizes, addresses, buffers."""

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from streamd.core.base_settings import Settings as Settings  # noqa: PLC0414 - modules import it from here
from streamd.core.redact_settings import RedactRule, RedactSettings

if TYPE_CHECKING:
    from streamd.core.conversion_settings import FrameConversion
    from streamd.core.multiline_settings import MultilineSettings

_DURATION_UNITS_S = {
    "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0,
}  # fmt: skip
_SIZE_UNITS: dict[str, float] = {
    "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_LAST_PORT = 65535
_QUANTITY = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s?([A-Za-z]{1,3})", re.ASCII)


def _meant_quantity(value: Any, units: dict[str, float], example: str) -> str:
    """The correct spelling of a number without a unit or with an unknown one; empty if there is none."""
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,15}(\.\d{1,9})?([ \w]*)", text, re.ASCII):
        return ""
    if len(parts := re.findall(r"(\d+)\s*([a-z]+)", text)) > 1 and all(u in units for _, u in parts):
        smallest = min((u for _, u in parts), key=lambda u: units[u])
        total = sum(int(n) * units[u] for n, u in parts) / units[smallest]
        return f"{total:.15g}{smallest}"
    number, unit = re.match(r"([\d.]+)\s*(.*)", text).groups()  # type: ignore[union-attr]  # it has matched
    if not unit:
        return f"{number}{example.lstrip('0123456789.')}"
    names = {"sec": "s", "secs": "s", "second": "s", "seconds": "s", "minute": "min", "minutes": "min",
             "mins": "min", "hour": "h", "hours": "h", "hr": "h", "hrs": "h", "day": "d", "days": "d",
             "week": "w", "weeks": "w", "msec": "ms", "millis": "ms", "milliseconds": "ms", "k": "KiB",
             "m": "MiB", "g": "GiB", "t": "TiB", "byte": "B", "bytes": "B"}  # fmt: skip
    meant = names.get(unit.lower()) or next((one for one in units if one.lower() == unit.lower()), None)
    return f"{number}{meant}" if meant in units else ""


def meant_duration(text: str, example: str = "5s") -> str:
    """The correct spelling of a duration that `parse_duration_s` refuses; empty if none is likely.

    A number without a unit gets that of the example.
    """
    return _meant_quantity(text, _DURATION_UNITS_S, example)


def meant_size(text: str, example: str = "64MiB") -> str:
    """As `meant_duration`, for `parse_size_bytes`."""
    return _meant_quantity(text, _SIZE_UNITS, example)


def _quantity(value: Any, units: dict[str, float], what: str, example: str) -> float:
    found = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[2] not in units:
        meant = _meant_quantity(value, units, example)
        hint = f'; write "{meant}"' if meant else ""
        if meant and str(value).strip()[-1:].isdigit():
            hint += " or another unit"
        raise ValueError(f"{what} is a number with a unit ({', '.join(units)}), like {example!r}{hint}")
    return float(found[1]) * units[found[2]]


def parse_duration_s(value: Any) -> float:
    """Seconds of a text like `200ms` or `30d`. A bare number is refused: its unit would be a guess."""
    return _quantity(value, _DURATION_UNITS_S, "a duration", "5s")


def parse_size_bytes(value: Any) -> int:
    """Bytes of a text like `64MiB`. A bare number is refused: its unit would be a guess."""
    return int(_quantity(value, _SIZE_UNITS, "a size", "64MiB"))


DurationS = Annotated[
    float,
    BeforeValidator(parse_duration_s, json_schema_input_type=str),
    Field(description="a duration with its unit, like 5s or 200ms"),
]
SizeBytes = Annotated[
    int,
    BeforeValidator(parse_size_bytes, json_schema_input_type=str),
    Field(description="a size with its unit, like 64MiB"),
]


class Address(NamedTuple):
    """An address to listen on or to send to: a host (name, IPv4 or IPv6 without brackets) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _meant(value: Any) -> str:
    """A hint at the correct spelling of an address without host or brackets; may be empty."""
    text = str(value).strip()
    port = text.removeprefix("*").removeprefix(":")
    if not isinstance(value, bool) and port.isascii() and port.isdigit() and int(port) <= _LAST_PORT:
        return f'; write "127.0.0.1:{port}", or "0.0.0.0:{port}" to listen on every interface'
    host, _, port = text.rpartition(":")
    if port.isascii() and port.isdigit() and int(port[:6]) > _LAST_PORT:
        return f"; a port is at most {_LAST_PORT}"
    if host.count(":") > 1 and "[" not in host and port.isascii() and port.isdigit():
        return f'; write "[{host}]:{port}"'
    if "://" in text:
        return f'; write "{text.partition("://")[2].rstrip("/")}"'
    if text and isinstance(value, str) and ":" not in text:
        return f'; write "{text}:9999"'
    return ""


def parse_address(value: Any) -> Address:
    """Parse `127.0.0.1:9999`, `[::1]:9999` or `localhost:9999`. With port 0 the kernel chooses a port."""
    host, colon, port = str(value).rpartition(":") if isinstance(value, str) else ("", "", "")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    well_formed = colon and host and port.isascii() and port.isdigit() and len(port) <= 5  # noqa: PLR2004
    if not well_formed or int(port) > 65535 or (":" in host and not bracketed):  # noqa: PLR2004
        raise ValueError(f"an address is host:port, like 127.0.0.1:9999 or [::1]:9999{_meant(value)}")
    return Address(host, int(port))


ListenAddress = Annotated[Address, BeforeValidator(parse_address, json_schema_input_type=str)]


def _component(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


class ComponentSettings(BaseModel):
    """A component named in the configuration: a string, or a table with `type` and its own keys."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str = Field(description="which component")

    @property
    def options(self) -> dict[str, Any]:
        """The component's own keys."""
        return dict(self.model_extra or {})


Component = Annotated[
    ComponentSettings, BeforeValidator(_component, json_schema_input_type=str | dict[str, Any])
]

WhenFull = Literal["block", "drop_newest", "drop_oldest"]


class BufferSettings(Settings):
    """A bounded queue. It is full as soon as one of its bounds is reached."""

    max_records: int = Field(
        65536, ge=1, description="most frames (of a source) or records (of a sink) in the buffer"
    )
    max_bytes: SizeBytes = Field("64MiB", description="most memory that they use", validate_default=True)
    when_full: WhenFull | None = Field(
        None,
        description="when the buffer is full: block (the sender waits), drop_newest or drop_oldest."
        " Default: block, but drop_oldest for sources of datagrams (udp, unix), whose "
        "senders cannot wait",
    )

    def share(self, count: int, least_bytes: int = 1) -> Self:
        """The settings of one of `count` processes that have the buffer together."""
        return self.model_copy(
            update={
                "max_records": max(1, self.max_records // count),
                "max_bytes": max(least_bytes, self.max_bytes // count),
            }
        )


DeadLetterPayload = Literal["keep", "hash", "none"]


class SourceDeadLetterSettings(Settings):
    """What the dead letters of a source keep."""

    payload: DeadLetterPayload = Field(
        "keep",
        description="content of a rejected frame or record: keep (whole, can be replayed), hash "
        "(its SHA-256, so that equal contents can be recognised) or none. With hash and"
        " none the detail, which may quote the content, is not kept either",
    )


class SourceRedactSettings(RedactSettings):
    """Personal data that is removed from what a source receives, before anything of it is kept or logged."""

    rules: list[RedactRule] = Field(
        [],
        description="rules as of the step redact, for the records of all pipelines, the dead letters and the"
        " log lines of the source. Frames cut at max_frame are rejected then: half a value is not found",
    )
    peer: Literal["truncate", "hash", "drop", "keep"] | None = Field(
        None,
        description="what is kept of the sender: truncate (the network of its address, 24 bits of IPv4 and"
        " 48 of IPv6, without the port), hash (a keyed hash of its address without the port), drop (nothing)"
        " or keep. Limits and fairness use the whole address. Default: truncate if there are rules",
    )

    @property
    def needs_key(self) -> bool:
        """Whether a value or a sender is hashed."""
        return super().needs_key or self.peer == "hash"

    @property
    def peer_rule(self) -> Literal["truncate", "hash", "drop", "keep"]:
        """What is kept of the sender."""
        return self.peer or ("truncate" if self.rules else "keep")

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        if self.peer == "keep" and not self.rules:
            raise ValueError("without rules and with peer = 'keep' nothing is redacted: leave redact out")
        return self


class Endpoint(NamedTuple):
    """An address or path on which a source receives connections or datagrams."""

    kind: Literal["udp", "tcp", "unix"]
    at: Address | str
    """The address; for `unix` the path of the socket, relative to `daemon.state_dir`."""
    key: str = "listen"
    """The key of the configuration that holds the address."""
    receive_buffer_bytes: int | None = None
    """The requested size of the kernel's receive buffer."""


class SinkOutput(NamedTuple):
    """A file or table that only one sink may write to at the same time, or an address that it sends to."""

    kind: Literal["database", "file", "tcp", "udp", "unix"]
    at: str
    """The path of the database, file or unix socket, relative to `daemon.state_dir`, or `host:port`."""
    table: str = ""
    """The table in the database, which several sinks may share."""
    key: str = "path"
    """The key of the configuration that holds the path or address."""

    @property
    def in_files(self) -> bool:
        """Whether the records are stored in a file instead of being sent to another process."""
        return self.kind in ("database", "file")


class SourceSettings(Settings):
    """The settings that all sources have."""

    type: str = Field(description="which source")
    codec: Component = Field("auto", description="the codec, which turns a frame into records")  # type: ignore[assignment]  # parsed by the validator
    schema_name: str | None = Field(
        None,
        alias="schema",
        description="name of a schema, which types and checks the fields while decoding",
    )
    buffer: BufferSettings = Field(BufferSettings(), description="the queue between source and workers")
    dead_letters: SourceDeadLetterSettings = Field(
        SourceDeadLetterSettings(), description="what is kept of frames and records that cannot be used"
    )

    redact: SourceRedactSettings = Field(
        SourceRedactSettings(), description="removes personal data before anything is kept or logged"
    )

    def share(self, count: int) -> Self:
        """The settings of one of `count` processes that receive for this source together."""
        least_bytes = 1 if self.cut_by is None else self.cut_by.max_frame
        return self.model_copy(update={"buffer": self.buffer.share(count, least_bytes)})

    @property
    def default_when_full(self) -> WhenFull:
        """The policy of a full buffer if the configuration sets none."""
        return "block"

    @property
    def when_full(self) -> WhenFull:
        """The policy of a full buffer."""
        return self.buffer.when_full or self.default_when_full

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints on which the source listens. No two sources may share one."""
        return ()

    @property
    def most_connections(self) -> int:
        """The most simultaneous connections of the source; 0 if it has none."""
        return 0

    @property
    def streams(self) -> bool:
        """Whether the source reads connections or a file, which have a first frame; False for datagrams."""
        return False

    @property
    def claims_inputs(self) -> bool:
        """Whether the source claims inputs at the sinks, which then store each record once (see `Tenure`)."""
        return False

    @property
    def cut_by(self) -> "FramingSettings | None":
        """The framing that cuts the bytes into frames; None if each datagram is a frame."""
        return None

    @property
    def inflated_by(self) -> str | None:
        """The compression of connections, which are decompressed before the framing; None if they are not."""
        return None

    @property
    def converted_by(self) -> "FrameConversion | None":
        """How each frame is converted before its codec; None if it is not."""
        return None

    @property
    def joined_by(self) -> "MultilineSettings | None":
        """How the lines of a message are joined; None if each frame is decoded by itself."""
        return None


class FramingSettings(NamedTuple):
    """A framing with its limit and policy for long frames."""

    framing: ComponentSettings
    max_frame: int
    oversize: str


class BatchSettings(Settings):
    """When a sink commits: at most once per `max_wait`, or earlier if `max_records` records wait."""

    max_records: int = Field(
        4000,
        ge=1,
        description="number of waiting records at which a commit begins before max_wait; if more "
        "records wait, one commit takes up to four times as many, but at most half of the "
        "buffer",
    )
    max_wait: DurationS = Field(
        "200ms", description="longest time that a record waits for others before a commit"
    )  # type: ignore[assignment]  # parsed by the validator


class SinkSettings(Settings):
    """The settings that all sinks have. A sink whose output others could also use declares `outputs`."""

    type: str = Field(description="which sink")
    buffer: BufferSettings = Field(BufferSettings(), description="the queue before this sink")
    batch: BatchSettings = Field(BatchSettings(), description="when the sink commits")

    def share(self, number: int, count: int) -> Self:
        """The settings of process `number` of `count` processes that write for this sink together."""
        del number
        return self.model_copy(update={"buffer": self.buffer.share(count)})

    @property
    def outputs(self) -> tuple[SinkOutput, ...]:
        """The outputs that the sink writes to. No two sinks may share one."""
        return ()

    @property
    def attempt_s(self) -> float | None:
        """How long an attempt to write waits for its output before it fails and is tried again later.

        None: it depends on the output, which may also never answer. `streamd capacity` computes stalls with
        it.
        """
        return None


class EncodedSettings(SinkSettings):
    """The settings of all sinks that write or send a message for each record."""

    encoder: Component = Field("json", description="the encoder, which turns a record into a message")  # type: ignore[assignment]  # parsed by the validator
    metadata: bool = Field(False, description="add the fields _received_at, _source and _peer")
