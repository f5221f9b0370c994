"""The figures that a capacity sheet is computed from: measured, given by the user, or assumed."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from streamd.capacity.figures import UnknownCapacityError
from streamd.config.problems import did_you_mean
from streamd.core.errors import ConfigError
from streamd.core.printable import printable

Origin = Literal["measured", "given", "assumed"]
_NUMBER = re.compile(r"\d[\d_]*(\.\d+)?([eE][+-]?\d{1,2})?", re.ASCII)
_COSTS = ("single_cpu_s_per_million", "worker_cpu_s_per_million", "edge_cpu_s_per_million")


@dataclass(frozen=True, slots=True)
class SheetFigure:
    """A value, where it is from, and the file, the daemon or the reason behind it."""

    value: float
    origin: Origin
    why: str = ""


@dataclass(frozen=True, slots=True)
class Declared:
    """A figure that a sheet needs."""

    name: str
    meaning: str
    default: float | Callable[[Mapping[str, float]], float]
    """The assumed value, or how to compute it from the figures before it."""
    why: str
    """Why this is assumed."""
    least: float = 0.0
    most: float = 1e15
    is_whole: bool = False


def _base(known: Mapping[str, float]) -> float:
    """The cost of the part that is known best."""
    return next(known[name] for name in _COSTS if name in known)


DECLARED = (
    Declared("head_room", "share of cores, network and disks that stays free", 0.3,
             "for peaks, and for the load of a machine that ends", 0.0, 0.95),
    Declared("machine_cores", "cores of a machine", 16, "a usual size", 1, 4096, is_whole=True),
    Declared("machine_network_bytes_per_s", "bytes a second of its network, in each direction", 1.25e9,
             "10 Gbit/s", 1),
    Declared("machine_disk_bytes", "size of its disks", 8e12, "8 TB", 1),
    Declared("record_bytes", "bytes of a record as a line of JSON", 110, "a record of streamd bench", 1, 1e9),
    Declared("stored_share", "rows stored for each record; windows and filters store fewer", 1,
             "every record is a row", 0, 1000),
    Declared("replicas", "JetStream servers that keep each message", 3, "one may be lost", 1, 5,
             is_whole=True),
    Declared("stream_retention_days", "how long the stream keeps messages, so how long workers may be away",
             1, "a day to mend them", 0, 36_600),
    Declared("table_retention_days", "how long rows are kept", 30, "a month", 0, 36_600),
    Declared("partitions_per_worker", "partitions for each worker process", 4,
             "so that the others can share the load of one that ends", 1, 1024, is_whole=True),
    Declared("single_cpu_s_per_million", "CPU of a daemon that does everything: TCP to SQLite", _base,
             "as the other part that was measured", 1e-6, 1e6),
    Declared("edge_cpu_s_per_million", "CPU of a daemon that sends to JetStream", _base,
             "as a daemon that does everything", 1e-6, 1e6),
    Declared("worker_cpu_s_per_million", "CPU of a daemon that reads JetStream and stores", _base,
             "as a daemon that does everything", 1e-6, 1e6),
    Declared("steps_cpu_s_per_million", "CPU of steps that the measured daemons did not have", 0,
             "no other steps", 0, 1e6),
    Declared("process_cores", "cores that one process can keep busy", 1,
             "a little less than one process reaches", 0.01, 64),
    Declared("processes_efficiency", "rate of several processes by that of as many alone", 1,
             "processes do not slow each other down", 0.01, 1),
    Declared("sqlite_rows_per_s", "rows that one SQLite file can take", lambda known: 1e6
             * known["process_cores"] / known["single_cpu_s_per_million"], "what one process stores", 1),
    Declared("sqlite_row_bytes", "bytes of a row in SQLite", lambda known: known["record_bytes"],
             "as long as the record", 1, 1e9),
    Declared("jetstream_cpu_s_per_million", "CPU of the JetStream servers for each replica", 0.45,
             "a trial with 500 records a message, on another machine", 0, 1e6),
    Declared("stream_records_per_s", "records that one stream can take", 1e6,
             "a trial with 500 records a message and sync_interval: always, on another machine", 1),
    Declared("postgresql_cpu_s_per_million", "CPU of the PostgreSQL server, for rows without unique columns",
             1.0, "a trial with 4,000 rows a commit, on another machine", 0, 1e6),
    Declared("postgresql_row_bytes", "bytes of a row in PostgreSQL, with its indexes",
             lambda known: known["record_bytes"], "as long as the record", 1, 1e9),
    Declared("parquet_row_bytes", "bytes of a row in Parquet files", lambda known: known["record_bytes"],
             "as long as the record", 0.01, 1e9),
)  # fmt: skip
"""All figures. One that is computed comes after those that it needs."""
_BY_NAME = {one.name: one for one in DECLARED}


def parse_figure(text: str) -> tuple[str, SheetFigure]:
    """Parse `NAME=VALUE`. Raises `ConfigError`."""
    name, equals, number = text.partition("=")
    if not equals:
        raise ConfigError(f"--figure {printable(text)}: not NAME=VALUE, like machine_cores=32")
    declared = _BY_NAME.get(name)
    if declared is None:
        known = ", ".join(_BY_NAME)
        raise ConfigError(
            f"--figure: there is no figure {printable(name)}{did_you_mean(name, _BY_NAME)}; there are {known}"
        )
    value = float(number) if _NUMBER.fullmatch(number) else math.nan
    if not declared.least <= value <= declared.most or (declared.is_whole and value != int(value)):
        kind = "a whole number" if declared.is_whole else "a number"
        raise ConfigError(
            f"--figure {name}={printable(number)}: not {kind} from {declared.least:g} to {declared.most:g}"
            f" ({declared.meaning})"
        )
    return name, SheetFigure(value, "given")


def completed(
    measured: Mapping[str, SheetFigure], given: Iterable[tuple[str, SheetFigure]]
) -> dict[str, SheetFigure]:
    """All figures in their order: those given, else those measured, else assumed ones.

    Raises `UnknownCapacityError` if the cost of no part is known.
    """
    known = {**measured, **dict(given)}
    values = {name: figure.value for name, figure in known.items()}
    if not any(name in values for name in _COSTS):
        raise UnknownCapacityError(
            f"no cost of a record is known: measure one, or give --figure {_COSTS[0]}=VALUE"
        )
    found: dict[str, SheetFigure] = {}
    for one in DECLARED:
        if one.name not in known:
            value = one.default(values) if callable(one.default) else one.default
            known[one.name] = SheetFigure(value, "assumed", one.why)
        found[one.name] = known[one.name]
        values[one.name] = found[one.name].value
    return found
