"""The cost of the sink `parquet`, compared with a program that writes the same table with pyarrow alone."""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from streamd.bench.plan import Plan
from streamd.bench.row import BenchError, Row, SkippedError
from streamd.bench.steps import no_collection
from streamd.core.batch import Batch, Record
from streamd.core.contracts import SinkContext
from streamd.core.dead_letter import LetterList
from streamd.core.errors import ConfigError
from streamd.core.schema import FieldSettings, Schema
from streamd.core.shared import Shared
from streamd.sensors import SensorStream
from streamd.sinks.parquet import Parquet

GOAL_RATIO = 1.3
FILE_RECORDS = 100_000
BATCH_RECORDS = 512
FIELDS = {
    "ts": "timestamp", "sensor": "str", "seq": "int", "value": "float", "unit": "str", "ok": "bool",
    "site": "str",
}  # fmt: skip
SENDER = "192.0.2.1:5000"


def measure(plan: Plan) -> list[Row]:
    """Two rows. Raises `BenchError` if the tables differ, and `SkippedError` without the extra `parquet`."""
    schema = Schema(
        "reading", {name: FieldSettings.model_validate({"type": kind}) for name, kind in FIELDS.items()}
    )
    records = list(map(json.loads, SensorStream().lines(plan.parquet_records)))
    values = [record[name] for record in records for name in schema.names]
    best = {"flat": float("inf"), "dicts": float("inf"), "alone": float("inf")}
    with no_collection(), plan.folder() as folder:
        for turn in range(plan.step_turns + 1):
            plan.step(f"parquet: turn {turn} of {plan.step_turns}")
            for way in best:
                (folder / f"{way}{turn}").mkdir()
            took_s = {
                "flat": asyncio.run(
                    _by_sink(folder / f"flat{turn}", schema, values, width=len(schema.names))
                ),
                "dicts": asyncio.run(_by_sink(folder / f"dicts{turn}", schema, records, width=1)),
                "alone": _alone(folder / f"alone{turn}", records),
            }
            _compare(folder, turn)
            row_bytes = sum(file.stat().st_size for file in (folder / f"flat{turn}").iterdir()) / len(records)
            if turn:  # the first one imports and fills caches
                best = {way: min(best[way], took_s[way]) for way in best}
    millions = len(records) / 1e6
    rows = [_row(name, what, best[way] / millions, best["alone"] / millions) for name, what, way in (
        ("parquet", "typed records", "flat"), ("parquet_dicts", "dicts", "dicts"),
    )]  # fmt: skip
    rows[0].details = {"row_bytes": row_bytes}
    rows[0].note += f"; {row_bytes:.1f} bytes a row"
    rows[0].goal = f"ratio ≤ {GOAL_RATIO}"
    if plan.judge:
        rows[0].reached = (rows[0].ratio or 0.0) <= GOAL_RATIO
    return rows


def _row(name: str, what: str, value: float, baseline: float) -> Row:
    return Row(
        name=name,
        what=f"Sink parquet: {what} of {len(FIELDS)} fields into files of {FILE_RECORDS:,} rows",
        value=value,
        unit="CPU s/M",
        note=f"without decoding; batches of {BATCH_RECORDS}; the least of the turns",
        baseline=baseline,
        baseline_what="pyarrow alone: pa.array of each field of the dicts, write_table",
    )


async def _by_sink(folder: Path, schema: Schema, records: Sequence[Any], *, width: int) -> float:
    """CPU seconds of all threads. `records` are dicts, or with a `width` the values of flat records."""
    config = Parquet.Config.model_validate({"type": "parquet", "path": "x.parquet", "schema": schema.name})
    try:
        sink = Parquet(config, SinkContext("bench", {schema.name: schema}, folder, LetterList(), Shared()))
    except ConfigError as error:
        if error.keys == ("type",):
            raise SkippedError(str(error)) from None
        raise
    if not sink.accepts_typed(schema):
        raise BenchError("parquet: the sink does not take typed records")
    await sink.open()
    fields = None if width == 1 else schema.names
    commits = [
        [
            Batch.of(list(part), "tcp", "bench", SENDER, 0.0, fields=fields)
            for part in _parts(commit, BATCH_RECORDS * width)
        ]
        for commit in _parts(records, FILE_RECORDS * width)
    ]
    began_s = time.process_time()
    for batches in commits:
        await sink.write(batches)
    took_s = time.process_time() - began_s
    await sink.close()
    return took_s


def _parts(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (values[at : at + size] for at in range(0, len(values), size))


def _alone(folder: Path, records: list[Record]) -> float:
    """CPU seconds of a program that has the records in memory and writes files of the same size."""
    import pyarrow as pa  # noqa: PLC0415 - the extra is there
    from pyarrow import parquet  # noqa: PLC0415

    types = {
        "str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(),
        "timestamp": pa.string(),
    }  # fmt: skip
    texts = [name for name, kind in FIELDS.items() if kind == "str"]
    began_s = time.process_time()
    for number, part in enumerate(_parts(records, FILE_RECORDS)):
        arrays = [pa.array([record[name] for record in part], types[kind]) for name, kind in FIELDS.items()]
        arrays[0] = arrays[0].cast(pa.timestamp("us", tz="UTC"))
        table = pa.table(dict(zip(FIELDS, arrays, strict=True)))
        with (folder / f"{number:06}.parquet").open("wb") as file:
            parquet.write_table(table, file, compression="zstd", use_dictionary=texts)
    return time.process_time() - began_s


def _compare(folder: Path, turn: int) -> None:
    """Raises `BenchError` if the ways have written other rows."""
    from pyarrow import parquet  # noqa: PLC0415 - the extra is there

    def rows(way: str) -> Any:
        tables = [
            parquet.read_table(path, columns=list(FIELDS)) for path in sorted(folder.glob(f"{way}{turn}/*"))
        ]
        return [table.to_pydict() for table in tables]

    wanted = rows("alone")
    if any(rows(way) != wanted for way in ("flat", "dicts")):
        raise BenchError("parquet: the sink and pyarrow alone have written different rows")
