"""Measured figures for a capacity sheet: from a benchmark's result, or from a running daemon."""

import statistics
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from streamd.capacity.benched import BenchRow, document_of
from streamd.capacity.figures import UnknownCapacityError
from streamd.capacity.measured import ENOUGH_BUSY_S, ENOUGH_FRAMES, LIGHT_SHARE
from streamd.capacity.sheet_figures import SheetFigure
from streamd.capacity.status import SeenStatus, count_of
from streamd.core.errors import ConfigError

_Found = Iterator[tuple[str, float]]


def from_bench(body: bytes, shown: str) -> dict[str, SheetFigure]:
    """The figures of a result of `streamd bench --json`. `shown` is the name of its file.

    Raises `ConfigError` if it is none, and `UnknownCapacityError` without the speed of a daemon.
    """
    document = document_of(body, shown)
    rows = {row.name: row for row in document.rows}
    trial = ", a --quick trial" if document.quick else ""
    found = {
        name: SheetFigure(value, "measured", f"{row} of {shown}, {document.at}{trial}")
        for row, figures in _ROWS.items()
        if row in rows
        for name, value in _read(figures, rows[row], shown)
    }
    if "single_cpu_s_per_million" not in found:
        raise UnknownCapacityError(
            f"--bench {shown}: it has neither tcp_wall nor tcp_typed, so the cost of a record is not known;"
            " write it with `streamd bench --only tcp_wall tcp_cores postgresql parquet --json FILE.json`"
        )
    return found


def from_daemon(
    seen: Sequence[SeenStatus], cpu_s: float, sources: Collection[str], sinks: Collection[str]
) -> dict[str, SheetFigure]:
    """The cost of a record in a daemon, all its processes together, between two looks at its status.

    `sources` and `sinks` are the types in its configuration: they say which part it is. Raises
    `UnknownCapacityError` if it had too little to do, or was started anew meanwhile.
    """
    first, last = seen[0], seen[-1]
    if (first.run_id, first.config_loaded_at) != (last.run_id, last.config_loaded_at):
        raise UnknownCapacityError("the daemon was started anew or reloaded meanwhile: ask again")
    records = _records(last) - _records(first)
    seconds = last.uptime_s - first.uptime_s
    if records < ENOUGH_FRAMES or cpu_s < ENOUGH_BUSY_S:
        raise UnknownCapacityError(
            f"the cost of a record is not known: the daemon processed {records:,} records in {seconds:.1f} s."
            " Offer a load (such as `streamd send --generate --rate 5000`) and ask again, or use --bench"
            " FILE.json of `streamd bench --json FILE.json`"
        )
    part = "worker" if "nats" in sources else "edge" if "nats" in sinks else "single"
    busy = cpu_s / seconds
    light = " (a light load in small batches costs more)" if busy < LIGHT_SHARE else ""
    why = f"this daemon, {records / seconds:,.0f} records/s for {seconds:.1f} s, {busy:.2f} cores busy{light}"
    return {f"{part}_cpu_s_per_million": SheetFigure(cpu_s / records * 1e6, "measured", why)}


def _read(figures: Callable[[BenchRow], _Found], row: BenchRow, shown: str) -> list[tuple[str, float]]:
    try:
        return list(figures(row))
    except (TypeError, ValueError, AttributeError):
        raise ConfigError(
            f"--bench {shown}: the details of {row.name} are not those of a benchmark"
        ) from None


def _records(status: SeenStatus) -> int:
    """The records of all sources; one that goes through several pipelines counts once."""
    found: dict[str, int] = {}
    for one in status.pipelines:
        if not one.source.startswith("@"):  # records that steps make at times of their own
            found[one.source] = max(found.get(one.source, 0), count_of(one.records, "in"))
    return sum(found.values())


def _wall(row: BenchRow) -> _Found:
    cpu_s, writing_s = (_of_runs(row, of) for of in (partial(_detail, "cpu_s"), _writing_s))
    if cpu_s > 0 < row.value:
        yield "single_cpu_s_per_million", cpu_s
        yield "process_cores", row.value * cpu_s / 1e6
        if writing_s > 0:
            yield "sqlite_rows_per_s", 1e6 / writing_s
    yield from _positive(row, "row_bytes", "sqlite_row_bytes")


def _typed(row: BenchRow) -> _Found:
    rates = [run["records_per_s"] for run in row.details.get("runs", []) if run.get("records_per_s")]
    if row.value > 0 and rates:
        yield "single_cpu_s_per_million", row.value
        yield "process_cores", statistics.median(rates) * row.value / 1e6


def _cores(row: BenchRow) -> _Found:
    if row.baseline:
        yield "processes_efficiency", min(1.0, row.value / row.baseline / row.details.get("processes", 2))


def _jetstream(row: BenchRow) -> _Found:
    replicas = row.details.get("replicas", 1)
    for part, shares in (("edge", 1), ("jetstream", replicas), ("worker", 1), ("postgresql", 1)):
        cost_s = _of_runs(row, partial(_detail, f"{part}_cpu_s"))
        if cost_s > 0:
            yield f"{part}_cpu_s_per_million", cost_s / shares


def _postgresql(row: BenchRow) -> _Found:
    yield from _positive(row, "server_cpu_s_per_million", "postgresql_cpu_s_per_million")
    yield from _positive(row, "row_bytes", "postgresql_row_bytes")


def _parquet(row: BenchRow) -> _Found:
    yield from _positive(row, "row_bytes", "parquet_row_bytes")


_ROWS: Mapping[str, Callable[[BenchRow], _Found]] = {
    "tcp_typed": _typed,
    "tcp_wall": _wall,
    "tcp_cores": _cores,
    "jetstream": _jetstream,
    "jetstream_cluster": _jetstream,
    "postgresql": _postgresql,
    "parquet": _parquet,
}
"""What each row of the benchmark shows. Later ones are preferred."""


def _positive(row: BenchRow, detail: str, figure: str) -> _Found:
    value = row.details.get(detail, 0.0)
    if value > 0:
        yield figure, float(value)


def _of_runs(row: BenchRow, of: Callable[[dict[str, Any]], float]) -> float:
    """The median of the runs, in seconds for each million records; 0 if they do not have it."""
    records = row.details.get("records", 0)
    found = [of(run) for run in row.details.get("runs", [])]
    return statistics.median(found) / records * 1e6 if records and found else 0.0


def _detail(name: str, run: dict[str, Any]) -> float:
    return float(run.get(name, 0.0))


def _writing_s(run: dict[str, Any]) -> float:
    return float(run["cpu_s"] - run["loop_cpu_s"]) if {"cpu_s", "loop_cpu_s"} <= run.keys() else 0.0
