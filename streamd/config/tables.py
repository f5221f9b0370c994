"""The tables of the configuration file, one class each. Components define their own `Config`."""

import ipaddress
import os
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from streamd.core.credential import File
from streamd.core.expression import ExpressionText
from streamd.core.paths import UNNAMEABLE, unexpanded, unnameable
from streamd.core.schema import SchemaField
from streamd.core.settings import (
    Address,
    Component,
    DurationS,
    Settings,
    SinkSettings,
    SizeBytes,
    SourceSettings,
    parse_address,
)


def _default_state_dir() -> str:
    """The first folder of systemd's `$STATE_DIRECTORY`, else `var` in the current folder."""
    return os.environ.get("STATE_DIRECTORY", "").split(":")[0] or "var"


class DaemonSettings(Settings):
    """The process as a whole."""

    workers: int = Field(
        5,
        ge=1,
        le=1024,
        description="most batches under way at a time in a pipeline, or in pipelines that share a source; "
        "more of them do not use more CPU",
    )
    processes: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = Field(
        1,
        description="processes that share the work; auto: as many as CPUs are available. Not every component"
        " can be shared, and limits are divided: see docs/how-to/processes.md",
    )
    max_batch: int = Field(
        1024,
        ge=1,
        le=65536,
        description="most records in a batch: larger batches cost less CPU, smaller ones less delay",
    )
    state_dir: str = Field(
        default_factory=_default_state_dir,
        min_length=1,
        description="folder of all outputs with a relative path; default $STATE_DIRECTORY, else ./var",
    )
    max_state: SizeBytes = Field(
        "64MiB",  # type: ignore[assignment]  # parsed by the validator
        ge=1024,
        description="largest state of one step that is stored in state.db, below state_dir; a larger one is"
        " reported as an error and not stored",
    )
    drain_timeout: DurationS = Field(
        "30s",  # type: ignore[assignment]  # parsed by the validator
        gt=0,
        description="longest time that a stop may take to commit the records that were read",
    )
    tests: Literal["ignore", "require"] = Field(
        "ignore",
        description="require: a start and a reload are refused unless the tests of the configuration pass,"
        " as with `streamd test`",
    )

    @property
    def process_count(self) -> int:
        """The number of processes, on this host."""
        return len(os.sched_getaffinity(0)) if self.processes == "auto" else self.processes


class LogSettings(Settings):
    """The log on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the lowest level that is written"
    )
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="json, console, or auto: console if stderr is a terminal, else json"
    )


ADMIN_OFF = "none"
"""The value of `listen` that turns the admin address off."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host. `localhost` is the only name that counts."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


UNIX = "unix:"
"""The beginning of a `listen` that names a unix socket."""

_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII | re.IGNORECASE)


def _admin_address(value: Any, info: ValidationInfo) -> Address | str | None:
    if value == ADMIN_OFF:
        return None
    if isinstance(value, str) and value.startswith(UNIX):
        path = value.removeprefix(UNIX)
        if not path or path.startswith("//"):
            shown = f"{UNIX}{path.removeprefix('//') or 'admin.sock'}"
            raise ValueError(f'a unix socket is {UNIX}PATH: write "{shown}"')
        if why := unexpanded(path) or unnameable(path) * UNNAMEABLE:
            raise ValueError(f"{path!r}: {why}")
        return value
    address = parse_address(value)
    if not is_loopback(address.host) and info.data.get("token", ...) is None:
        raise ValueError(
            "only a loopback address (127.0.0.1, [::1], localhost) or unix:PATH is safe here without a"
            f" token, because every host that reaches {address} could ask; set [admin] token to the path of a"
            f' file with one (`openssl rand -hex 32` makes it); "{ADMIN_OFF}" turns the address off'
        )
    return address


def _host_name(value: Any) -> Any:
    if isinstance(value, str) and not _HOST_NAME.fullmatch(value):
        raise ValueError("a name of a host, without scheme and port, like streamd.example.org")
    return value


class AdminSettings(Settings):
    """The HTTP address for the page, the status, metrics and health."""

    token: File | None = Field(
        None,
        description="file with the token that requests for data of records need, or { credential = … };"
        " default: the daemon makes one and keeps it as admin.token in state_dir",
    )
    listen: Annotated[Address | str | None, BeforeValidator(_admin_address, json_schema_input_type=str)] = (
        Field(
            "127.0.0.1:9900",
            description="a loopback address, or unix:PATH (a socket, relative to state_dir); with `token` any"
            f' address, on which nearly every request then needs the token; "{ADMIN_OFF}" turns it off',
        )
    )
    group: str | None = Field(
        None,
        min_length=1,
        description="with unix:PATH: a group that may use the socket, besides the daemon's user",
    )
    names: list[Annotated[str, BeforeValidator(_host_name, json_schema_input_type=str)]] = Field(
        [],
        description="further names of hosts under which browsers reach the address, as behind a proxy;"
        " localhost, IP addresses and the name in `listen` are known",
    )

    @field_validator("group")
    @classmethod
    def _group_of_a_socket(cls, group: str | None, info: ValidationInfo) -> str | None:
        if group is not None and isinstance(info.data.get("listen"), Address):
            raise ValueError("only a unix socket has a group; listen names an address")
        return group

    @property
    def socket_path(self) -> str | None:
        """The path of the unix socket, relative to state_dir, or None if `listen` is no socket."""
        return self.listen.removeprefix(UNIX) if isinstance(self.listen, str) else None

    @property
    def is_open(self) -> bool:
        """Whether other hosts may reach the address."""
        return isinstance(self.listen, Address) and not is_loopback(self.listen.host)


CONTROL_OFF = "none"
"""The value of `path` that turns the control socket off."""

CONTROL_SOCKET = "control.sock"


def _default_control_path() -> str:
    """In the first folder of systemd's `$RUNTIME_DIRECTORY`, else in `state_dir`."""
    folder = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return f"{folder}/{CONTROL_SOCKET}" if folder else CONTROL_SOCKET


class ControlSettings(Settings):
    """The Unix socket that answers `streamd status` and `streamd reload`."""

    path: str = Field(
        default_factory=_default_control_path,
        min_length=1,
        description=f'file of the socket, relative to state_dir; "{CONTROL_OFF}" turns it off; default'
        f" $RUNTIME_DIRECTORY/{CONTROL_SOCKET}, else {CONTROL_SOCKET}",
    )
    group: str | None = Field(
        None,
        min_length=1,
        description="a group that may use the socket, besides the daemon's user; default under systemd the"
        " daemon's group, else none",
    )


class LedgerSettings(Settings):
    """The books, as a table that queries can read."""

    path: str = Field("streamd.db", min_length=1, description="SQLite file, relative to state_dir")
    interval: DurationS = Field(
        "5s",  # type: ignore[assignment]  # parsed by the validator
        ge=0.1,
        description="time between two entries in the ledger",
    )
    max_age: DurationS | None = Field(
        None,
        ge=60,
        description="older entries are added up to one for each number of a run: sums stay exact, "
        "but the completeness of those minutes is no longer known. Default: all entries"
        " are kept",
    )


class DeadLetterSettings(Settings):
    """The store of rejected frames and records."""

    path: str = Field("dead-letters.db", min_length=1, description="SQLite file, relative to state_dir")
    max_size: SizeBytes = Field(
        "256MiB",  # type: ignore[assignment]  # parsed by the validator
        ge=1 << 20,
        description="largest size of the file; beyond it the oldest dead letters are deleted and counted",
    )
    rate: int = Field(
        1000, ge=1, description="dead letters kept a second; further ones are counted but not kept"
    )
    burst: int = Field(10000, ge=1, description="dead letters kept at once before the rate applies")


class SinkReference(Settings):
    """A sink in the list of a pipeline. `"x"` is short for `{ name = "x" }`."""

    name: str = Field(description="a sink by name")
    where: ExpressionText | None = Field(
        None, description="an expression: only records for which it is true go to this sink"
    )


def _reference(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class PipelineSettings(Settings):
    """The way of records from sources through steps to sinks."""

    sources: list[str] = Field(min_length=1, description="names of the sources")
    sink_references: list[
        Annotated[SinkReference, BeforeValidator(_reference, json_schema_input_type=str | SinkReference)]
    ] = Field(
        alias="sinks",
        min_length=1,
        description='names of the sinks, as "x" or { name = "x", where = "…" }; each sink gets '
        "every record, or those for which `where` is true",
    )
    steps: list[Component] = Field([], description="steps that process the records, in this order")

    @property
    def sinks(self) -> list[str]:
        """The sinks by name."""
        return [reference.name for reference in self.sink_references]


class Config(Settings):
    """The whole file. Each source and sink is the `Config` of its component."""

    daemon: DaemonSettings = Field(default_factory=DaemonSettings, description="the process as a whole")
    log: LogSettings = Field(LogSettings(), description="the log on stderr")
    admin: AdminSettings = Field(
        AdminSettings(), description="the HTTP address for the page, the status, metrics and health"
    )
    control: ControlSettings = Field(
        default_factory=ControlSettings, description="the Unix socket for status, reload and dead letters"
    )
    ledger: LedgerSettings = Field(LedgerSettings(), description="the books, as a table for queries")
    dead_letters: DeadLetterSettings = Field(
        DeadLetterSettings(), description="the store of rejected frames and records"
    )
    schemas: dict[str, dict[str, SchemaField]] = Field({}, description="fields, declared once and named")
    sources: dict[str, SourceSettings] = Field(description="where records come from")
    pipelines: dict[str, PipelineSettings] = Field(description="the ways from sources to sinks")
    sinks: dict[str, SinkSettings] = Field(description="where records are stored or sent")


def groups(config: Config) -> list[list[str]]:
    """The names of the pipelines, grouped: pipelines that share a source, also indirectly, are together."""
    found: list[tuple[list[str], set[str]]] = []
    for name, pipeline in config.pipelines.items():
        together = [group for group in found if group[1].intersection(pipeline.sources)]
        found = [group for group in found if group not in together]
        names = [other for group in together for other in group[0]]
        found.append(([*names, name], set(pipeline.sources).union(*(group[1] for group in together))))
    return [names for names, _ in found]
