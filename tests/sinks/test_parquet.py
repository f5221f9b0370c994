import re
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet as pq
from pydantic import ValidationError

from streamd.core.batch import Batch
from streamd.core.contracts import SinkContext
from streamd.core.errors import ConfigError, EnvironmentFault, SinkError
from streamd.core.shared import Shared
from streamd.parquet import whole_file
from streamd.sinks.parquet import Parquet
from streamd.syslog.priority import SEVERITIES

BatchOf = Callable[..., Batch]
NO_LIMIT = {"min_free": "0B"}
OPTIONS = [
    {"path": "records-%Y-%m-%d.parquet", "retention": NO_LIMIT},
    {"path": "records-%Y.parquet", "columns": {"n": "int"}, "extra": "reject", "retention": NO_LIMIT},
]
COLUMNS = {
    "ts": "timestamp",
    "sensor": "str",
    "n": "int",
    "v": "float",
    "ok": "bool",
    "raw": "bytes",
    "any": "any",
}
READING = {
    "ts": "2026-01-31T09:00:00.5+01:00", "sensor": "é", "n": 2**63 - 1, "v": 1e300, "ok": False, "raw": b"\0",
    "any": [1, {"a": None}],
}  # fmt: skip


def ask(sql: str) -> list[Any]:
    with duckdb.connect() as connection:
        rows: list[Any] = connection.execute(sql).fetchall()
        return rows


class Lake:
    """Makes Parquet sinks in one folder and reads their files."""

    def __init__(self, path: Path, bench: Any) -> None:
        self.path = path
        self.bench = bench
        self._open: list[Parquet] = []

    def sink(self, **config: Any) -> Parquet:
        settings = {"type": "parquet", "path": "readings.parquet", "retention": NO_LIMIT} | config
        context = SinkContext("lake", self.bench.schemas, self.path, self.bench.office, Shared())
        return Parquet(Parquet.Config.model_validate(settings), context)

    async def open(self, **config: Any) -> Parquet:
        sink = self.sink(**config)
        await sink.open()
        self._open.append(sink)
        return sink

    async def close(self) -> None:
        while self._open:
            await self._open.pop().close()

    def files(self) -> list[Path]:
        """Every file, unfinished ones too."""
        return sorted(path for path in self.path.rglob("*") if path.is_file())

    def rows(self) -> list[dict[str, Any]]:
        return [row for path in self.files() for row in pq.ParquetFile(path).read().to_pylist()]


@pytest.fixture
async def lake(tmp_path: Path, bench: Any) -> AsyncIterator[Lake]:
    path = tmp_path / "lake"
    path.mkdir()
    made = Lake(path, bench)
    yield made
    await made.close()


async def test_a_commit_is_one_whole_file_that_duckdb_pandas_and_pyarrow_read(
    lake: Lake, batch_of: BatchOf
) -> None:
    sink = await lake.open(columns=COLUMNS, metadata=True)
    written = await sink.write([batch_of([READING]), batch_of([{"more": {"x": 1}}])])
    assert written.rejected == [[], []]
    (path,) = lake.files()
    rows = ask(
        f"SELECT epoch_us(ts), sensor, n, v, ok, raw, \"any\"->'$[1]' FROM '{path}' WHERE sensor = 'é'"  # noqa: S608
    )
    assert rows == [(1769846400500000, "é", 2**63 - 1, 1e300, False, b"\0", '{"a":null}')]
    frame = pd.read_parquet(path)
    assert frame["ts"][0] == pd.Timestamp("2026-01-31T08:00:00.5Z")
    assert list(frame["extra"].fillna("")) == ["", '{"more":{"x":1}}']
    assert list(frame["source"]) == ["lab", "lab"]
    assert frame["received_at"][0] == pd.Timestamp(0, tz="UTC")
    assert pq.read_schema(path).field("ts").type == pa.timestamp("us", tz="UTC")
    assert sink.context.counters.numbers() == {"files": 1}


async def test_typed_records_and_dicts_give_the_same_rows(lake: Lake, batch_of: BatchOf) -> None:
    columns = {name: kind for name, kind in COLUMNS.items() if kind != "any"}
    schema = lake.bench.schema(**{name: {"type": kind, "required": False} for name, kind in columns.items()})
    record = {name: READING[name] for name in columns} | {"ts": "2026-01-31T08:00:00.500000Z"}
    for metadata in (False, True):
        sink = await lake.open(schema="reading", metadata=metadata)
        assert sink.accepts_typed(schema)
        structs = [schema.struct(**record), schema.struct()]
        times = [1.25, 2.5]
        await sink.write([batch_of(structs, schema=schema, received_at=times, peers=["a", "b"])])
        flat = lake.rows()
        lake.files()[0].unlink()
        await sink.write([batch_of([record, {}], received_at=times, peers=["a", "b"])])
        assert lake.rows() == flat
        assert [row["sensor"] for row in flat] == ["é", None]
        lake.files()[0].unlink()


async def test_without_columns_each_record_is_json(lake: Lake, batch_of: BatchOf) -> None:
    sink = await lake.open()
    written = await sink.write([batch_of([{"a": 1}, {"b": float("nan")}, {"c": "é"}])])
    assert written.rejected == [[1]]
    assert [row["record"] for row in lake.rows()] == ['{"a":1}', '{"c":"é"}']
    assert [(letter.reason, letter.payload.keys()) for letter in lake.bench.office.letters] == [
        ("row:not_finite", {"b"})
    ]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"n": "text"}, "schema:type"),
        ({"n": 2**63}, "schema:range"),
        ({"v": float("inf")}, "schema:range"),
        ({"ts": "yesterday"}, "timestamp:syntax"),
        ({"any": object()}, "row:json"),
        ({"any": float("nan")}, "row:not_finite"),
        ({"sensor": "\ud800"}, "row:surrogate"),
        ({"more": "\udfff"}, "row:json"),
    ],
)
async def test_a_value_that_fits_no_column_is_a_dead_letter_and_the_others_are_stored(
    lake: Lake, batch_of: BatchOf, bad: dict[str, Any], reason: str
) -> None:
    sink = await lake.open(columns=COLUMNS, metadata=True)
    written = await sink.write([batch_of([{"n": 1}, bad, {"n": 3}]), batch_of([bad])])
    assert written.rejected == [[1], [0]]
    assert [letter.reason for letter in lake.bench.office.letters] == [reason, reason]
    assert [row["n"] for row in lake.rows()] == [1, 3]


async def test_a_commit_of_rejects_makes_no_file(lake: Lake, batch_of: BatchOf) -> None:
    sink = await lake.open(columns={"n": "int"})
    assert (await sink.write([batch_of([{"n": "x"}]), batch_of([])])).rejected == [[0], []]
    assert not lake.files()


@pytest.mark.parametrize(
    ("extra", "rejected", "dropped", "stored"),
    [("reject", [1], {}, [1]), ("drop", [], {"extra_dropped": 2}, [1, 2])],
)
async def test_fields_without_a_column(
    lake: Lake, batch_of: BatchOf, extra: str, rejected: list[int], dropped: dict[str, int], stored: list[int]
) -> None:
    sink = await lake.open(columns={"n": "int"}, extra=extra)
    written = await sink.write([batch_of([{"n": 1}, {"n": 2, "a": 1, "b": 2}])])
    assert written.rejected == [rejected]
    assert lake.rows() == [{"n": n} for n in stored]
    assert sink.context.counters.numbers() == {"files": 1} | dropped


async def test_records_go_to_the_folder_of_the_day_they_were_received(lake: Lake, batch_of: BatchOf) -> None:
    sink = await lake.open(path="in/day=%Y-%m-%d/hour=%H/x.parquet", columns={"n": "int"})
    each = batch_of([{"n": n} for n in range(4)], received_at=[0.0, 86399.9, 86400.0, 1.0])
    await sink.write([each, batch_of([{"n": 4}], received_at=90000.0)])
    rows = ask(
        f"SELECT day::text, hour::int, list(n ORDER BY n) FROM '{lake.path}/in/**/*.parquet' GROUP BY 1, 2 ORDER BY 1, 2"  # noqa: E501, S608
    )
    assert rows == [
        ("1970-01-01", 0, [0, 3]), ("1970-01-01", 23, [1]), ("1970-01-02", 0, [2]), ("1970-01-02", 1, [4]),
    ]  # fmt: skip


async def test_a_lifted_record_goes_where_its_own_time_says(lake: Lake, batch_of: BatchOf) -> None:
    sink = await lake.open(path="%Y-%m.parquet", columns={"n": "int"})
    batch = batch_of([{"n": 1}, {"n": 2}, {"n": "bad"}, {"n": 3}])
    batch.lift()
    batch.records[1]["@received_at"] = "2026-03-31T23:00:00Z"
    batch.records[3]["@received_at"] = "2026-03-01T00:00:00Z"
    assert (await sink.write([batch])).rejected == [[2]]
    found = {path.name[:7]: pq.read_table(path)["n"].to_pylist() for path in lake.files()}
    assert found == {"1970-01": [1], "2026-03": [2, 3]}


async def test_a_retry_goes_on_at_the_file_that_failed_and_repeats_nothing(
    lake: Lake, batch_of: BatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = await lake.open(path="%Y-%m-%d.parquet", columns={"n": "int"})
    batches = [batch_of([{"n": n} for n in range(3)] + [{"n": "bad"}], received_at=[0.0, 1e5, 2e5, 0.0])]
    synced: list[Path] = []
    sync = whole_file._sync

    def fail_after_the_rename(folder: Path) -> None:
        synced.append(folder)
        if len(synced) == 2:
            raise OSError(5, "Input/output error")
        sync(folder)

    monkeypatch.setattr(whole_file, "_sync", fail_after_the_rename)
    with pytest.raises(SinkError, match=r"io: .*Input/output error"):
        await sink.write(batches)
    assert sorted(row["n"] for row in lake.rows()) == [0, 1]
    assert (await sink.write(batches)).rejected == [[3]]
    assert sorted(row["n"] for row in lake.rows()) == [0, 1, 2]
    assert len(lake.files()) == 3
    assert len(lake.bench.office.letters) == 1


async def test_a_folder_that_was_removed_is_made_again(lake: Lake, batch_of: BatchOf) -> None:
    sink = await lake.open(path="in/%Y/x.parquet", columns={"n": "int"}, extra="drop")
    shutil.rmtree(lake.path)
    await sink.write([batch_of([{"n": 1}])])
    assert lake.rows() == [{"n": 1}]


async def test_a_place_that_is_taken_is_retried_and_leaves_nothing_half_made(
    lake: Lake, batch_of: BatchOf
) -> None:
    sink = await lake.open(path="in/%Y/x.parquet", columns={"n": "int"}, extra="drop")
    (lake.path / "in" / "1970").touch()
    batches = [batch_of([{"n": 1}])]
    for _ in range(2):
        with pytest.raises(SinkError, match=r"io: .*File exists"):
            await sink.write(batches)
    (lake.path / "in" / "1970").unlink()
    await sink.write(batches)
    assert lake.rows() == [{"n": 1}]


async def test_writing_waits_for_free_space(lake: Lake, batch_of: BatchOf) -> None:
    sink = await lake.open(retention={"min_free": "900TiB"})
    with pytest.raises(SinkError, match=r"^min_free: .* keeps 943718400 MiB"):
        await sink.write([batch_of([{"n": 1}])])
    assert not lake.files()


async def test_half_written_files_of_a_dead_process_are_removed_at_the_start(
    lake: Lake, batch_of: BatchOf
) -> None:
    sink = await lake.open(path="day=%Y/x.parquet")
    await sink.write([batch_of([{"n": 1}])])
    (whole,) = lake.files()
    whole.with_name(f".{whole.name}.tmp").write_bytes(b"PAR1 half")
    foreign = whole.with_name(".x.parquet.tmp")
    foreign.touch()
    again = await lake.open(path="day=%Y/x.parquet")
    assert lake.files() == sorted([whole, foreign])
    assert again.context.counters.numbers() == {"unfinished_files": 1}


async def test_retention_deletes_whole_files_from_the_oldest(
    lake: Lake, batch_of: BatchOf, until: Callable[..., Any]
) -> None:
    sink = await lake.open(path="day=%Y/x.parquet")
    await sink.write([batch_of([{"n": n} for n in range(5)])])
    (whole,) = lake.files()
    whole.rename(whole.with_name("x-20200101T000000.000000Z-01234567.parquet"))
    again = await lake.open(path="day=%Y/x.parquet", retention=NO_LIMIT | {"max_age": "1d"})
    await until(lambda: again.context.counters.numbers() == {"expired": 5})
    await until(lambda: not lake.files())


async def test_what_cannot_be_is_refused(lake: Lake) -> None:
    refusals: list[tuple[str, dict[str, Any]]] = [
        ("ends with .parquet", {"path": "readings"}),
        ("begins with no dot", {"path": ".x.parquet"}),
        ("names no periods", {"path": "day=%d/x.parquet"}),
        ("there is no schema 'none'", {"schema": "none"}),
        ("'extra' needs columns", {"extra": "drop"}),
        ("'metadata' needs columns", {"metadata": False}),
        ("'a' and 'A' differ only in case", {"columns": {"a": "int", "A": "int"}}),
        ("adds a column 'source'", {"columns": {"source": "str"}, "metadata": True}),
    ]
    for words, config in refusals:
        with pytest.raises(ConfigError, match=words):
            lake.sink(**config)
    with pytest.raises(ValidationError, match=r"add_column|'json', 'reject' or 'drop'"):
        lake.sink(columns={"a": "int"}, extra="add_column")


async def test_a_folder_that_cannot_be_made_is_refused(lake: Lake) -> None:
    (lake.path / "in").touch()
    for sink in (lake.sink(path="in/x.parquet"), lake.sink(path="in/%Y/x.parquet")):
        with pytest.raises(
            EnvironmentFault, match=r"sink lake: .*: (File exists|Not a directory)"
        ) as refused:
            await sink.open()
        with pytest.raises(EnvironmentFault) as said:
            sink.rehearse()
        assert str(said.value) == str(refused.value)


def test_of_several_processes_the_first_alone_deletes_old_files() -> None:
    settings = {
        "type": "parquet",
        "path": "a.parquet",
        "retention": {"max_age": "1d", "max_size": "1GiB", "min_free": "1MiB"},
    }
    first, second = (Parquet.Config.model_validate(settings).share(number, 2) for number in range(2))
    assert (first.retention.max_age, first.retention.max_size) == (86400, 2**30)
    assert (second.retention.max_age, second.retention.max_size) == (None, None)
    assert first.retention.min_free == second.retention.min_free == 2**20
    assert first.buffer.max_records == second.buffer.max_records == 125_000


def test_the_query_of_the_reference_gives_severities_their_names(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/parquet.md").read_text()
    (query,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    (tmp_path / "day").mkdir()
    numbers = pa.table({"severity": [*range(len(SEVERITIES)), None]})
    pq.write_table(numbers, tmp_path / "day" / "syslog.parquet")
    found = dict(ask(query.replace("var/lake", str(tmp_path))))
    assert found == dict.fromkeys([*SEVERITIES, None], 1)
