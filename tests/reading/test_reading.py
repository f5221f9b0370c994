"""What a notebook does with `streamd.read`.

Also about `reading/stored.py`.
"""

import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sqlite3 import connect
from typing import Any, Literal

import pytest

import streamd
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.timestamp import canonical
from streamd.ledger.tables import statements
from streamd.sqlite.read_only import QueryRefused

CONFIG = """
[daemon]
state_dir = "{folder}"
[schemas.reading]
ts = "timestamp"
sensor = "str"
seq = {{ type = "int", required = false }}
value = {{ type = "float", required = false }}
ok = {{ type = "bool", required = false }}
raw = {{ type = "bytes", required = false }}
tags = {{ type = "json", required = false }}
[sources.lab]
type = "udp"
listen = "127.0.0.1:9999"
schema = "reading"
codec = "json"
[sources.other]
type = "udp"
listen = "127.0.0.1:9998"
[pipelines.main]
sources = ["lab"]
sinks = ["kept"]
[pipelines.rest]
sources = ["other"]
sinks = ["everything"]
[sinks.kept]
type = "sqlite"
path = "{file}"
table = "readings"
schema = "reading"
metadata = true
[sinks.everything]
type = "sqlite"
path = "{file}"
table = "everything"
"""

MAKE = """CREATE TABLE readings (
  ts TEXT, sensor TEXT, seq INTEGER, value REAL, ok INTEGER, raw BLOB, tags TEXT,
  received_at TEXT, source TEXT, peer TEXT, extra TEXT) STRICT"""
ROWS: list[tuple[Any, ...]] = [
    ("2026-01-31T08:00:00.000001Z", "s-1", 2**53 + 1, 21.5, 1, b"\x00\xff", '{"a":1}',
     "2026-01-31T08:00:10.000000Z", "lab", "127.0.0.1", None),
    ("2026-01-31T08:01:00.000000Z", "数据", None, None, None, None, None,
     "2026-01-31T08:01:10.000000Z", "lab", "127.0.0.2", '{"more":2}'),
    ("2026-01-31T08:02:00.000000Z", "s-1", -1, -0.5, 0, b"", "[1]",
     "2026-01-31T08:02:10.000000Z", "lab", "127.0.0.1", None),
]  # fmt: skip
LEDGER = [
    # at, interval_s, source, counter, n
    ("2026-01-31T08:00:05.000000Z", 5.0, "lab", "received", 100),
    ("2026-01-31T08:01:05.000000Z", 5.0, "lab", "received", 80),
    ("2026-01-31T08:01:05.000000Z", 5.0, "lab", "kernel_dropped", 20),
    ("2026-01-31T08:01:05.000000Z", 5.0, "other", "received", 7),
    ("2026-01-31T08:02:05.000000Z", 5.0, "lab", "received", 50),
    ("2026-01-31T08:02:30.000000Z", 10.0, "", "unclean", None),
]


def store(path: Path, rows: Sequence[tuple[Any, ...]] = ROWS, make: str = MAKE) -> None:
    with closing(connect(path)) as connection:
        connection.execute(make)
        for row in rows:
            connection.execute(f"INSERT INTO readings VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608 - question marks
        connection.commit()


def configure(folder: Path, file: str) -> Path:
    path = folder / "streamd.toml"
    path.write_text(CONFIG.format(folder=folder, file=file))
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose daemon has stored three records, lost some and was killed in the third minute."""
    store(tmp_path / "streamd.db")
    with closing(connect(tmp_path / "streamd.db")) as connection:
        for statement in statements():
            connection.execute(statement)
        for at, interval_s, source, counter, n in LEDGER:
            connection.execute(
                "INSERT INTO ledger VALUES (?, 'run', ?, ?, '', '', ?, '', ?)",
                (at, interval_s, source, counter, n),
            )
        connection.commit()
    return configure(tmp_path, "streamd.db")


def test_pandas_types_are_those_of_the_schema_and_values_are_exact(config: Path) -> None:
    pd = pytest.importorskip("pandas", reason="pandas is in the extra frames")
    frame, _ = streamd.read("readings", config=config)
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        "ts": "datetime64[us, UTC]", "sensor": "str", "seq": "Int64", "value": "float64", "ok": "boolean",
        "raw": "object", "tags": "str", "received_at": "datetime64[us, UTC]", "source": "str", "peer": "str",
        "extra": "str",
    }  # fmt: skip
    assert frame["ts"][0] == pd.Timestamp("2026-01-31T08:00:00.000001Z")
    assert frame["seq"].tolist() == [2**53 + 1, pd.NA, -1]
    assert frame["ok"].tolist() == [True, pd.NA, False]
    assert frame["raw"].tolist() == [b"\x00\xff", None, b""]
    assert frame["tags"][0] == '{"a":1}'
    assert frame["value"].isna().tolist() == [False, True, False]


def test_polars_types_are_those_of_the_schema_and_values_are_exact(config: Path) -> None:
    pl = pytest.importorskip("polars", reason="polars is in the extra frames")
    frame, completeness = streamd.read("readings", config=config, engine="polars")
    time = pl.Datetime("us", "UTC")
    assert dict(frame.schema) == {
        "ts": time, "sensor": pl.String, "seq": pl.Int64, "value": pl.Float64, "ok": pl.Boolean,
        "raw": pl.Binary, "tags": pl.String, "received_at": time, "source": pl.String, "peer": pl.String,
        "extra": pl.String,
    }  # fmt: skip
    assert frame["ts"][0] == datetime(2026, 1, 31, 8, 0, 0, 1, tzinfo=UTC)
    assert frame["seq"].to_list() == [2**53 + 1, None, -1]
    assert frame["ok"].to_list() == [True, None, False]
    assert completeness["percent"].to_list() == [100.0, 80.0, None]


@pytest.mark.parametrize("engine", ["pandas", "polars"])
def test_types_are_the_same_where_no_row_is_found(config: Path, engine: Any) -> None:
    pytest.importorskip(engine, reason=f"{engine} is in the extra frames")
    every = streamd.read("readings", config=config, engine=engine)
    none = streamd.read("readings", config=config, engine=engine, where="0", since="2031-01-01T00:00:00Z")
    assert len(none.frame) == len(none.completeness) == 0
    assert list(none.frame.dtypes) == list(every.frame.dtypes)
    assert list(none.completeness.dtypes) == list(every.completeness.dtypes)


def test_completeness_is_of_the_asked_time_and_the_tables_sources_and_unknown_is_missing(
    config: Path,
) -> None:
    pd = pytest.importorskip("pandas", reason="pandas is in the extra frames")
    _, completeness = streamd.read("readings", config=config)
    assert completeness["source"].unique().tolist() == ["lab"]
    assert completeness["received"].tolist() == [100, 80, 50]
    assert completeness["lost"].tolist() == [0, 20, 0]
    assert completeness["percent"][:2].tolist() == [100.0, 80.0]
    assert pd.isna(completeness["percent"][2]), "the daemon was killed in this minute"

    asked = streamd.read(
        "readings", config=config, since="2026-01-31T08:01:07Z", until="2026-01-31T08:02:00Z"
    )
    assert asked.completeness["minute"].tolist() == [pd.Timestamp("2026-01-31T08:01:00Z")]
    assert len(asked.frame) == 1


def test_what_was_lost_on_its_way_to_other_tables_is_not_missing_in_this_one(config: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is in the extra frames")
    with closing(connect(config.parent / "streamd.db")) as connection:
        connection.executemany(
            "INSERT INTO ledger VALUES"
            " ('2026-01-31T08:00:05.000000Z', 'run', 5.0, 'lab', ?, ?, 'dropped', '', ?)",
            [("main", "", 1), ("main", "kept", 3), ("main", "everything", 50), ("rest", "kept", 60)],
        )
        connection.commit()
    _, completeness = streamd.read("readings", config=config)
    assert completeness["lost"].tolist() == [4, 20, 0]
    assert completeness["percent"][0] == 96.0


@pytest.mark.parametrize(
    "since",
    ["2026-01-31T09:01:10+01:00", datetime(2026, 1, 31, 8, 1, 10, tzinfo=UTC), 1769846470],
    ids=["text", "datetime", "epoch"],
)
def test_since_is_included_and_until_is_not(config: Path, since: Any) -> None:
    pytest.importorskip("pandas", reason="pandas is in the extra frames")
    read = streamd.read("kept", config=config, since=since, until="2026-01-31T08:02:10Z", columns=["sensor"])
    assert read.frame["sensor"].tolist() == ["数据"]
    read = streamd.read("kept", config=config, since=since, time="ts", columns=["sensor"])
    assert read.frame["sensor"].tolist() == ["s-1"]


@pytest.mark.parametrize(("ago", "found"), [("1h", 1), (timedelta(hours=1), 1), ("1m", 0)])
def test_a_duration_means_so_long_ago(config: Path, ago: Any, found: int) -> None:
    pytest.importorskip("pandas", reason="pandas is in the extra frames")
    with closing(connect(config.parent / "streamd.db")) as connection:
        half_an_hour_ago = canonical((datetime.now(UTC) - timedelta(minutes=30)).isoformat())
        connection.execute("UPDATE readings SET received_at = ? WHERE seq = -1", (half_an_hour_ago,))
        connection.commit()
    assert len(streamd.read("readings", config=config, since=ago).frame) == found


def test_columns_are_each_read_once_and_have_to_be_there(config: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is in the extra frames")
    every = streamd.read("readings", config=config).frame
    assert len(streamd.read("readings", config=config, columns=["seq", "seq"]).frame) == len(every)
    for columns in ([], ["nope"]):
        with pytest.raises(ConfigError, match=r"columns is empty|has no column 'nope'"):
            streamd.read("readings", config=config, columns=columns)


def test_a_condition_is_sql_with_parameters(config: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is in the extra frames")
    frame, _ = streamd.read(
        "readings",
        config=config,
        columns=["seq", "sensor"],
        where="sensor = :name AND seq < 0 -- and a comment",
        parameters={"name": "s-1"},
        since="2026-01-31T08:00:00Z",
    )
    assert frame.columns.tolist() == ["seq", "sensor"]
    assert frame["seq"].tolist() == [-1]


def test_dated_files_are_read_as_one_table_however_many(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas", reason="pandas is in the extra frames")
    for day in range(1, 21):
        store(
            tmp_path / f"logs-2026-01-{day:02}.db",
            [(f"s-{day}", day)] if day < 20 else [("s-20", 20, 1.5)],
            "CREATE TABLE readings (sensor TEXT, seq INTEGER" + (", value REAL)" if day == 20 else ")"),
        )
    frame, completeness = streamd.read("readings", config=configure(tmp_path, "logs-%Y-%m-%d.db"))
    assert frame["seq"].tolist() == list(range(1, 21))
    assert frame["value"][19] == 1.5
    assert pd.isna(frame["value"][0])
    assert len(completeness) == 0, "there is no ledger yet"


def test_what_is_no_database_under_a_dated_name_is_warned_of_and_left_out(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is in the extra frames")
    store(tmp_path / "logs-2026-01-01.db", [("s", 1)], "CREATE TABLE readings (sensor TEXT, seq INTEGER)")
    (tmp_path / "logs-2026-01-02.db").write_text("notes")
    with pytest.warns(UserWarning, match="logs-2026-01-02.db is left out: it does not begin"):
        frame, _ = streamd.read("readings", config=configure(tmp_path, "logs-%Y-%m-%d.db"))
    assert frame["seq"].tolist() == [1]


def test_a_file_without_configuration_has_the_types_of_sql_and_of_our_own_columns(config: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is in the extra frames")
    frame, completeness = streamd.read("readings", db=config.parent / "streamd.db")
    kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
    assert kinds["received_at"] == "datetime64[us, UTC]"
    assert (kinds["ts"], kinds["ok"], kinds["value"]) == ("str", "Int64", "float64")
    assert set(completeness["source"]) == {"lab", "other"}


def test_what_is_in_the_table_and_is_no_time_is_told(config: Path) -> None:
    with closing(connect(config.parent / "streamd.db")) as connection:
        connection.execute("UPDATE readings SET ts = 'yesterday'")
        connection.commit()
    engines: tuple[Literal["pandas", "polars"], ...] = ("pandas", "polars")
    for engine in engines:
        pytest.importorskip(engine, reason=f"{engine} is in the extra frames")
        with pytest.raises(EnvironmentFault, match="'ts' holds a value that is no timestamp"):
            streamd.read("readings", config=config, engine=engine)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"table": "nowhere"}, ConfigError, "there are kept, readings, everything"),
        ({"table": "everything"}, EnvironmentFault, "there is no table 'everything'"),
        ({"since": "2026-01-31T08:00:00"}, ConfigError, "since: "),
        ({"until": datetime(2026, 1, 31)}, ConfigError, "until: "),  # noqa: DTZ001 - that is what is wrong
        ({"since": "soon"}, ConfigError, "since: "),
        ({"since": "10"}, ConfigError, "since: '10' has no unit"),
        ({"until": True}, ConfigError, "until: "),
        ({"since": "5m", "time": "when"}, ConfigError, "no column 'when'"),
        ({"columns": ["sensor", "nothing"]}, ConfigError, "no column 'nothing'"),
        ({"where": "1); DROP TABLE readings; --"}, QueryRefused, "syntax|statement"),
        ({"where": "seq < 0) OR (1"}, QueryRefused, "syntax"),
        ({"where": "1 LIMIT 1"}, QueryRefused, "LIMIT"),
        ({"where": "nothing = 1"}, QueryRefused, "nothing"),
        ({"where": "sensor = ?"}, QueryRefused, "binding"),
        ({"where": "load_extension('x')"}, QueryRefused, "refused"),
        ({"engine": "arrow"}, ConfigError, "pandas"),
        ({"db": "x.db"}, ConfigError, "exclude each other"),
    ],
)
def test_a_wrong_question_is_told(
    config: Path, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    pytest.importorskip("pandas", reason="pandas is in the extra frames")
    before = (config.parent / "streamd.db").read_bytes()
    with pytest.raises(error, match=words):
        streamd.read(**{"table": "readings", "config": config, **options})
    assert (config.parent / "streamd.db").read_bytes() == before


def test_no_file_yet_is_told(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is in the extra frames")
    with pytest.raises(EnvironmentFault, match="there is no"):
        streamd.read("readings", config=configure(tmp_path, "streamd.db"))


def test_without_pandas_it_says_what_to_install(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(EnvironmentFault, match="-m pip install pandas"):
        streamd.read("readings", config=config)


def test_who_imports_streamd_for_a_step_loads_nothing_that_reads() -> None:
    readers = "{'pandas', 'sqlite3', 'streamd.reading.reading'}"
    asked = f"import streamd, sys; print(sorted({readers} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
