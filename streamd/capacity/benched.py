"""Figures from a benchmark of this machine (`streamd bench --json`), for a configuration."""

import statistics
from collections.abc import Mapping
from typing import Any

import msgspec

from streamd.capacity.configured import Costs, Load, lines_of
from streamd.capacity.figures import Figures, UnknownCapacityError
from streamd.config.tables import Config
from streamd.core.errors import ConfigError
from streamd.core.listed import listed

_MEASURED_CODECS = frozenset({"json", "auto"})
"""The benchmark sends JSON; `auto` finds it at its first byte."""
_NEEDED = "`streamd bench --only tcp_wall --json FILE.json`"


class BenchRow(msgspec.Struct):
    """One figure of a benchmark."""

    name: str
    value: float
    unit: str
    baseline: float | None = None
    details: dict[str, Any] = {}


class BenchDocument(msgspec.Struct):
    """The result of a benchmark."""

    at: str
    quick: bool
    rows: list[BenchRow]


def document_of(body: bytes, shown: str) -> BenchDocument:
    """The result of a benchmark. Raises `ConfigError` if the file is none."""
    try:
        return msgspec.json.decode(body, type=BenchDocument)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ConfigError(f"--bench {shown}: not a result of {_NEEDED}") from None


def figures_of(
    body: bytes, config: Config, loads: Mapping[str, Load], frame_bytes: float | None, shown: str
) -> Figures:
    """The figures of a configuration at the speed of a benchmark. `shown` is the name of its file.

    Raises `ConfigError` if that is no such document, and `UnknownCapacityError` if it lacks the figures.
    """
    document = document_of(body, shown)
    rows = {row.name: row for row in document.rows}
    base, sink_per_s, of = _base(rows, shown)
    trial = " as a --quick trial" if document.quick else ""
    assumed = [f"speed: {base * 1e6:.2f} µs of one core a frame ({of} of {shown}, {document.at}{trial})"]

    free: dict[str, None] = {}

    def costs(names: list[str], sources: list[str]) -> Costs:
        del sources
        types = [step.type for name in names for step in config.pipelines[name].steps]
        known = {name: rows[f"step_{name}"].value * 1e-6 for name in types if f"step_{name}" in rows}
        if missing := [name for name in dict.fromkeys(types) if name not in known]:
            free.update(dict.fromkeys(missing))
            assumed.append(
                f"steps {listed(missing)} of {listed(names)}: free, as {shown} has no figures of them"
            )
        if known:
            assumed.append(
                f"steps of {listed(names)}: "
                + listed(f"{name} {cost_s * 1e6:.2f} µs" for name, cost_s in known.items())
            )
        return Costs(base + sum(known.get(name, 0.0) for name in types), sink_per_s)

    lines = lines_of(config, loads, costs, frame_bytes)
    guessed = sorted({one.codec.type for one in config.sources.values()} - _MEASURED_CODECS)
    if guessed:
        assumed.append(f"codecs {listed(guessed)}: as fast as json, as {shown} has no figures of them")
    assumed.append("each frame is one record, and every record goes to each sink of its pipelines")
    return Figures(
        lines=lines,
        read_s=0.0,
        assumed=tuple(assumed),
        free_steps=tuple(free),
        guessed_codecs=tuple(guessed),
    )


def _base(rows: Mapping[str, BenchRow], shown: str) -> tuple[float, float, str]:
    """Seconds a frame, records a second that a sink writes, and which row they are from."""
    wall = rows.get("tcp_wall")
    if wall is not None and wall.value > 0:
        runs = wall.details.get("runs", [])
        records = wall.details.get("records", 0)
        writing = [run["cpu_s"] - run["loop_cpu_s"] for run in runs if {"cpu_s", "loop_cpu_s"} <= run.keys()]
        write_s = statistics.median(writing) if writing else 0.0
        return 1 / wall.value, records / write_s if write_s > 0 else float("inf"), "tcp_wall"
    for name in ("tcp_typed", "tcp_plain"):
        row = rows.get(name)
        runs = [] if row is None else row.details.get("runs", [])
        rates = [run["records_per_s"] for run in runs if run.get("records_per_s")]
        if rates:
            return 1 / statistics.median(rates), float("inf"), name
    raise UnknownCapacityError(
        f"--bench {shown}: it has none of tcp_wall, tcp_typed and tcp_plain, so the speed of this machine is"
        f" not known; write it with {_NEEDED}"
    )
