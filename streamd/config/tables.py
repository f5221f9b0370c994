"""The tables of the configuration file, one class each; components bring their own `Config`."""

import ipaddress
import os
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from streamd.core.expression import ExpressionText
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
    """What systemd made for us (the first of several), else `var` where the daemon was started."""
    return os.environ.get("STATE_DIRECTORY", "").split(":")[0] or "var"


class DaemonSettings(Settings):
    """The process as a whole."""

    workers: int = Field(
        5, ge=1, le=1024, description="worker coroutines: they overlap waiting and add no CPU"
    )
    max_batch: int = Field(
        1024, ge=1, le=65536, description="records a batch: the knob between latency and cost"
    )
    state_dir: str = Field(
        default_factory=_default_state_dir,
        min_length=1,
        description="where outputs with a relative path go; default $STATE_DIRECTORY, else ./var",
    )
    drain_timeout: DurationS = Field(
        "30s",  # type: ignore[assignment]  # parsed by the validator
        gt=0,
        description="longest time a stop may take to commit what was read",
    )


class LogSettings(Settings):
    """The log on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least serious that is shown"
    )
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: console where stderr is a terminal, json elsewhere"
    )


ADMIN_OFF = "none"
"""The word for `listen` that turns the admin address off."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it. Of names only `localhost` is known to mean that."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _admin_address(value: Any) -> Address | None:
    if value == ADMIN_OFF:
        return None
    address = parse_address(value)
    if not is_loopback(address.host):
        raise ValueError(
            "only a loopback address (127.0.0.1, [::1], localhost) is safe here, as it asks for no password;"
            f' "{ADMIN_OFF}" turns it off'
        )
    return address


class AdminSettings(Settings):
    """The HTTP address for `/metrics`, `/healthz` and `/readyz`."""

    listen: Annotated[Address | None, BeforeValidator(_admin_address, json_schema_input_type=str)] = Field(
        "127.0.0.1:9900",  # type: ignore[assignment]  # parsed by the validator
        description=f'a loopback address; "{ADMIN_OFF}" turns it off',
    )


CONTROL_OFF = "none"
"""The word for `path` that turns the control socket off."""

CONTROL_SOCKET = "control.sock"


def _default_control_path() -> str:
    """In the folder systemd made for us (the first of several), else in `state_dir`."""
    folder = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return f"{folder}/{CONTROL_SOCKET}" if folder else CONTROL_SOCKET


class ControlSettings(Settings):
    """The Unix socket that `streamd status` and `streamd reload` ask."""

    path: str = Field(
        default_factory=_default_control_path,
        min_length=1,
        description=f'relative to state_dir; "{CONTROL_OFF}" turns it off; default'
        f" $RUNTIME_DIRECTORY/{CONTROL_SOCKET}, else {CONTROL_SOCKET}",
    )
    group: str | None = Field(
        None,
        min_length=1,
        description="who may use it beside the daemon's user; default under systemd the daemon's group, else"
        " nobody",
    )


class LedgerSettings(Settings):
    """The books, written beside the data."""

    path: str = Field("streamd.db", min_length=1, description="SQLite file, relative to state_dir")
    interval: DurationS = Field(
        "5s",  # type: ignore[assignment]  # parsed by the validator
        ge=0.1,
        description="time between two entries",
    )
    max_age: DurationS | None = Field(
        None,
        ge=60,
        description="entries older than this are added up to one for each number of a run: sums stay exact,"
        " the completeness of those minutes is forgotten; by default all are kept",
    )


class DeadLetterSettings(Settings):
    """The store of what could not be used."""

    path: str = Field("dead-letters.db", min_length=1, description="SQLite file, relative to state_dir")
    max_size: SizeBytes = Field(
        "256MiB",  # type: ignore[assignment]  # parsed by the validator
        ge=1 << 20,
        description="size of the file; beyond it the oldest are evicted and counted",
    )
    rate: int = Field(1000, ge=1, description="dead letters kept a second; what is over is counted, not kept")
    burst: int = Field(10000, ge=1, description="dead letters kept at once before the rate counts")


class SinkReference(Settings):
    """A sink as a pipeline names it: `"x"` is short for `{ name = "x" }`."""

    name: str = Field(description="a sink by name")
    where: ExpressionText | None = Field(
        None, description="an expression: only a record for which it is true goes to this sink"
    )


def _reference(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class PipelineSettings(Settings):
    """The way from sources through steps to sinks."""

    sources: list[str] = Field(min_length=1, description="where its records come from, by name")
    sink_references: list[
        Annotated[SinkReference, BeforeValidator(_reference, json_schema_input_type=str | SinkReference)]
    ] = Field(
        alias="sinks",
        min_length=1,
        description='where they go, by name: "x" or { name = "x", where = "…" }; each sink gets every record,'
        " or those for which `where` is true",
    )
    steps: list[Component] = Field([], description="what is done to them on the way, in this order")

    @property
    def sinks(self) -> list[str]:
        """The sinks by name."""
        return [reference.name for reference in self.sink_references]


class Config(Settings):
    """The whole file. Sources and sinks hold the `Config` of their own component."""

    daemon: DaemonSettings = Field(default_factory=DaemonSettings, description="the process as a whole")
    log: LogSettings = Field(LogSettings(), description="the log on stderr")
    admin: AdminSettings = Field(AdminSettings(), description="the HTTP address for metrics and health")
    control: ControlSettings = Field(
        default_factory=ControlSettings, description="the Unix socket for status, reload and dead letters"
    )
    ledger: LedgerSettings = Field(LedgerSettings(), description="the books, written beside the data")
    dead_letters: DeadLetterSettings = Field(
        DeadLetterSettings(), description="the store of what could not be used"
    )
    schemas: dict[str, dict[str, SchemaField]] = Field({}, description="fields, declared once and named")
    sources: dict[str, SourceSettings] = Field(description="where records come from")
    pipelines: dict[str, PipelineSettings] = Field(description="which way they go")
    sinks: dict[str, SinkSettings] = Field(description="where they are stored")


def groups(config: Config) -> list[list[str]]:
    """The pipelines by name, those together that share a source (also by way of a third one)."""
    found: list[tuple[list[str], set[str]]] = []
    for name, pipeline in config.pipelines.items():
        together = [group for group in found if group[1].intersection(pipeline.sources)]
        found = [group for group in found if group not in together]
        names = [other for group in together for other in group[0]]
        found.append(([*names, name], set(pipeline.sources).union(*(group[1] for group in together))))
    return [names for names, _ in found]
