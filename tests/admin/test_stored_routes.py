"""Also about `bounded_reading`, `own_reads`, `statement`, `letters_routes` and `rows`."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from streamd.admin import bounded_reading, own_reads, rows, statement, stored_routes
from streamd.admin.server import AdminServer
from streamd.core.clock import read_clock
from streamd.core.timestamp import from_epoch
from streamd.dead_letters import reader
from streamd.dead_letters.row import COLUMNS, TABLE
from streamd.ledger import quality
from tests.admin.test_server import get
from tests.backing import Work

Until = Callable[[Callable[[], bool]], Awaitable[None]]
Ask = Callable[..., Awaitable[tuple[int, Any]]]

NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
ENDLESS = f"{NUMBERS} SELECT count(*) FROM n"  # noqa: S608
MINUTES = "SELECT trim(printf('%.*c', 999999, 'a'), printf('%.*c', 999999, 'b') || 'a')"
"""SQLite looks at nothing within a function."""


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a process may take seconds to start."""
    monkeypatch.setattr(statement, "LIMIT_S", 600.0)
    monkeypatch.setattr(bounded_reading, "LIMIT_S", 600.0)


@pytest.fixture
async def server(make_server: Callable[..., AdminServer]) -> AsyncIterator[AdminServer]:
    server = make_server(timeout_s=600.0)
    await server.open()
    yield server
    await server.close()


@pytest.fixture
def ask(server: AdminServer) -> Ask:
    async def ask(target: str, method: str = "GET") -> tuple[int, Any]:
        right = f"Bearer {server.token.text}"
        code, body, headers = await get(server, target, method, Authorization=right)
        is_json = headers["Content-Type"] == "application/json"
        return code, json.loads(body) if is_json else body.decode()

    return ask


@pytest.fixture
def readings(tmp_path: Path) -> Path:
    path = tmp_path / "readings.db"
    execute(
        path,
        "CREATE TABLE records (id INTEGER, sensor TEXT, value REAL, raw BLOB)",
        "INSERT INTO records VALUES (1, 'a', 1.5, x'00ff'), (2, 'b', 9e999, NULL), (3, 'ü', -9e999, x'')",
    )
    return path


PROTECTED = [
    "/query?sql=select%201", "/quality", "/senders", "/dead-letters", "/dead-letters/count",
    "/dead-letters/1", "/configuration", "/points", "/tap?point=source:lab",
]  # fmt: skip
PROTECTED_POSTS = ["/tests", "/dead-letters/replay?ids=1"]


@pytest.mark.usefixtures("readings")
@pytest.mark.parametrize(
    ("method", "target"),
    [*(("GET", target) for target in PROTECTED), *(("POST", target) for target in PROTECTED_POSTS)],
)
async def test_data_needs_the_token_on_loopback_too(
    server: AdminServer, work: Work, method: str, target: str
) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {server.token.text}"}):
        code, body, answered = await get(server, target, method, **headers)
        assert code == 401
        assert b"token" in body
        assert answered["WWW-Authenticate"] == 'Bearer realm="streamd"'
        assert server.token.text.encode() not in body
    assert server.refused == {"token": 3}
    assert work.replayed == []


@pytest.mark.usefixtures("readings")
async def test_a_query_answers_columns_and_rows(ask: Ask) -> None:
    sql = quote("select * from records order by id")
    assert await ask(f"/query?sink=readings&sql={sql}") == (
        200,
        {
            "columns": ["id", "sensor", "value", "raw"],
            "rows": [
                [1, "a", 1.5, {"@base64": "AP8="}],
                [2, "b", {"@float": "inf"}, None],
                [3, "ü", {"@float": "-inf"}, {"@base64": ""}],
            ],
            "truncated": False,
        },
    )


@pytest.mark.usefixtures("readings")
async def test_a_query_has_a_limit_of_rows_and_of_bytes(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = quote("select id from records order by id")
    assert (await ask(f"/query?limit=2&sql={sql}"))[1] == {
        "columns": ["id"], "rows": [[1], [2]], "truncated": True,
    }  # fmt: skip
    assert (await ask(f"/query?limit=3&sql={sql}"))[1]["truncated"] is False
    monkeypatch.setattr(stored_routes, "MOST_ROWS", 1)
    assert len((await ask(f"/query?limit=3&sql={sql}"))[1]["rows"]) == 1
    monkeypatch.setattr(stored_routes, "MOST_ROWS", 1000)
    wide = quote(f"select zeroblob({rows.MOST_BYTES // 3}) from records")  # noqa: S608
    answer = (await ask(f"/query?sql={wide}"))[1]
    assert (len(answer["rows"]), answer["truncated"]) == (2, True)


@pytest.mark.usefixtures("readings")
@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("sql=select+x+from+records", "no such column: x"),
        ("sql=selec", "syntax error"),
        ("sql=", "sql is missing"),
        ("", "sql is missing"),
        ("sql=delete+from+records", "DELETE is refused"),
        ("sql=drop+table+records", "is refused"),
        ("sql=attach+'/tmp/x.db'+as+x", "ATTACH is refused"),
        ("sql=pragma+query_only=0", "is refused"),
        ("sql=select+load_extension('x')", "this function is refused"),
        ("sql=select+1;select+2", "one statement at a time"),
        ("sql=begin", "is refused"),
        ("sql=--nothing", "is no SELECT"),
        ("sql=select+zeroblob(2000000000)", "too big"),
        ("sql=select+'a'+like+printf('%25.*c',100000,'%25')", "too complex"),
        ("sql=select+1&sink=other", "no sink other stores in a database; there are readings"),
        ("sql=select+1&limit=x", "x is no number"),
        ("sql=select+1&db=/etc/passwd", "db is no parameter here"),
    ],
)
async def test_a_query_only_reads(ask: Ask, readings: Path, query: str, why: str) -> None:
    code, text = await ask(f"/query?{query}")
    assert (code, why in text) == (400, True), text
    with closing(sqlite3.connect(readings)) as connection:
        assert connection.execute("SELECT count(*) FROM records").fetchone() == (3,)


async def test_without_a_database_the_answer_says_so(ask: Ask) -> None:
    code, text = await ask("/query?sql=select+1")
    assert (code, "the daemon makes it when it first starts" in text) == (503, True)


@pytest.mark.usefixtures("readings")
@pytest.mark.parametrize("sql", [ENDLESS, MINUTES])
async def test_a_query_ends_at_its_limit(ask: Ask, monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    monkeypatch.setattr(statement, "LIMIT_S", 0.5)
    code, text = await ask(f"/query?sql={quote(sql)}")
    assert (code, "the query took longer than 0.5 s" in text) == (400, True)


@pytest.mark.usefixtures("readings")
@pytest.mark.parametrize(
    "sql",
    [
        "select hex(zeroblob(200000000))",
        f"{NUMBERS} select count(distinct zeroblob(1000000) || i) from n",  # noqa: S608
        f"{NUMBERS} select i from n order by zeroblob(1000000) || i",  # noqa: S608
    ],
)
async def test_a_query_has_a_limit_of_memory(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sql: str
) -> None:
    monkeypatch.setattr(statement, "MOST_MEMORY_BYTES", 64 << 20)
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path / "none"))
    code, text = await ask(f"/query?sql={quote(sql)}")
    assert (code, text) == (400, "there is not enough memory for this statement: narrow it\n")


def test_a_statement_ends_without_the_daemon(readings: Path) -> None:
    asked: dict[str, Any] = {"files": {"main": str(readings)}, "sql": MINUTES, "limit": 1, "limit_s": 0.5}
    program = "from streamd.admin.statement_process import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False, capture_output=True, input=json.dumps(asked | {"memory_bytes": 1 << 28}).encode(),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGALRM, b"", b"")


@pytest.mark.usefixtures("readings")
async def test_a_query_of_streamd_itself_ends_at_its_limit(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(
        tmp_path / "streamd.db",
        *quality.STATEMENTS,
        f"INSERT INTO quality {NUMBERS} SELECT i, 's', 'p', 'r', 'f', 1, 1, 0, i, 1, 0, 0 FROM n LIMIT 20000",  # noqa: S608
    )
    monkeypatch.setattr(bounded_reading, "LIMIT_S", 0.0)
    code, text = await ask("/senders")
    assert (code, "the query took longer than 0 s" in text) == (400, True)


RULE = "1 AS source, 1 AS rule, 1 AS field, 1 AS worst_failed, '9' AS minute"
GAPS = "i AS gap_from, i AS gap_to, i AS missing, '9' AS noticed_at"


@pytest.mark.usefixtures("readings")
@pytest.mark.parametrize(
    ("target", "file", "view"),
    [
        ("/senders", "readings.db", f"gaps AS {NUMBERS} SELECT {GAPS}, i AS device FROM n"),  # noqa: S608
        ("/senders", "readings.db", f"gaps AS SELECT {GAPS}, ({MINUTES}) AS device FROM (SELECT 1 AS i)"),  # noqa: S608
        ("/senders", "streamd.db", f"quality AS SELECT ({MINUTES}) AS worst_sender, {RULE}"),
        ("/quality", "streamd.db", f"quality_now AS {MINUTES}"),
    ],
    ids=["steps", "function", "quality", "quality_now"],
)  # fmt: skip
async def test_a_view_of_somebody_else_ends_at_the_limit_whatever_it_does(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, file: str, view: str
) -> None:
    execute(tmp_path / "streamd.db", "CREATE TABLE x (y)")
    execute(tmp_path / file, f"CREATE VIEW {view}")
    monkeypatch.setattr(statement, "LIMIT_S", 0.5)
    code, text = await ask(target)
    assert (code, "the query took longer than 0.5 s" in text) == (400, True), text


@pytest.mark.usefixtures("readings")
@pytest.mark.parametrize("sql", [ENDLESS, MINUTES])
async def test_few_queries_run_at_a_time_and_end_with_their_clients(
    server: AdminServer, ask: Ask, until: Until, tmp_path: Path, sql: str
) -> None:
    execute(tmp_path / "streamd.db", "CREATE TABLE x (y)")
    head = f"GET /query?sql={quote(sql)} HTTP/1.1\r\nHost: localhost\r\n"
    opened = []
    for _ in range(bounded_reading.MOST_AT_ONCE):
        _, writer = await asyncio.open_connection(*server.listening[0])
        writer.write(f"{head}Authorization: Bearer {server.token.text}\r\n\r\n".encode())
        opened.append(writer)
    await until(lambda: sum(bool(one.tasks) for one in server._exchange.connections) == len(opened))
    assert (await ask("/query?sql=select+1"))[0] == 503
    assert (await ask("/quality"))[0] == 200  # these have places of their own
    for writer in opened:
        writer.transport.abort()
    await until(lambda: not server._exchange.connections)
    deadline = read_clock().mono_s + 30
    while (await ask("/query?sql=select+1"))[0] == 503:  # until their processes have ended
        assert read_clock().mono_s < deadline
        await asyncio.sleep(0.01)


def add_letters(path: Path, *letters: tuple[str, str | None, str]) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(TABLE)
        connection.executemany(
            f"INSERT INTO dead_letters ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})",  # noqa: S608
            [
                (at, "lab", peer, None, None, "decode", reason, "", "frame", b"x")
                for at, peer, reason in letters
            ],
        )
        connection.commit()


async def test_dead_letters_are_listed_counted_and_shown(ask: Ask, tmp_path: Path) -> None:
    add_letters(tmp_path / "dead-letters.db", (from_epoch(1.0), "10.0.0.7:5", "json:syntax"))
    code, found = await ask("/dead-letters?reason=json:syntax")
    assert (code, [letter["id"] for letter in found["letters"]], found["left_out"]) == (200, [1], 0)
    code, found = await ask("/dead-letters/count")
    assert (found["counts"][0]["count"], found["left_out"]) == (1, 0)
    assert (await ask("/dead-letters/1"))[1]["payload"] == "x"
    assert (await ask("/dead-letters/2"))[0] == 404


async def test_letters_and_counts_beyond_the_limits_are_counted(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = [(from_epoch(float(n)), "10.0.0.7:5", "x" if n < 4 else "y") for n in range(7)]
    add_letters(tmp_path / "dead-letters.db", *letters)
    found = (await ask("/dead-letters?limit=2"))[1]
    assert ([letter["id"] for letter in found["letters"]], found["left_out"]) == ([7, 6], 5)
    assert (await ask("/dead-letters?limit=2&reason=y"))[1]["left_out"] == 1
    assert (await ask("/dead-letters?limit=7"))[1]["left_out"] == 0
    monkeypatch.setattr(reader, "MOST_LEFT_OUT", 3)
    assert (await ask("/dead-letters?limit=2"))[1]["left_out"] == 3
    monkeypatch.setattr(reader, "MOST_COUNTS", 1)
    found = (await ask("/dead-letters/count"))[1]
    assert ([one["count"] for one in found["counts"]], found["left_out"]) == ([4], 1)


async def test_letters_are_replayed_by_the_daemon(ask: Ask, work: Work) -> None:
    assert await ask("/dead-letters/replay?ids=81,7", "POST") == (200, {"letters": 2})
    assert work.replayed == [81, 7]


@pytest.mark.parametrize(
    "query", ["", "ids=", "ids=x", "ids=0", "ids=7,0", "ids=1,,2", "ids=-1", "id=1", f"ids={'1,' * 1000}1"]
)
async def test_a_replay_names_its_letters(ask: Ask, work: Work, query: str) -> None:
    assert (await ask(f"/dead-letters/replay?{query}", "POST"))[0] == 400
    assert (await ask("/dead-letters/replay?ids=1"))[0] == 400
    assert work.replayed == []


async def test_quality_is_the_view_of_the_ledger(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "streamd.db"
    execute(ledger, "CREATE TABLE x (y)")
    assert await ask("/quality") == (200, [])
    minute = from_epoch(read_clock().wall_s // 60 * 60)
    execute(
        ledger,
        "CREATE TABLE ledger (at TEXT, interval_s REAL, counter TEXT, reason TEXT)",
        *quality.STATEMENTS,
        f"INSERT INTO quality VALUES ('{minute}', 'lab', 'main', 'range', 'v', 9, 3, 0, 'h', 2, NULL, NULL)",  # noqa: S608
    )
    monkeypatch.setattr(statement.Statement, "run", None)  # streamd's own view needs no process
    code, (found,) = await ask("/quality")
    assert (code, found["sink"]) == (200, "ledger")
    assert dict(zip(found["columns"], found["rows"][0], strict=True))["failed"] == 3


async def test_senders_are_those_of_the_last_hour(ask: Ask, tmp_path: Path) -> None:
    now_s = read_clock().wall_s
    now, minute, old = from_epoch(now_s - 1), from_epoch(now_s // 60 * 60), from_epoch(now_s - 4000)
    execute(
        tmp_path / "streamd.db",
        *quality.STATEMENTS[:1],
        *(
            f"INSERT INTO quality VALUES ('{at}', 'lab', 'main', 'range', 'v', 9, 3, 0, '{host}', 2, NULL, 0)"  # noqa: S608
            for at, host in ((minute, "host-1"), (old, "host-9"))
        ),
        f"INSERT INTO quality VALUES ('{minute}', 'lab', 'main', 'dew', '', 9, 1, 0, 'host-2', 1, NULL, 0)",  # noqa: S608
    )
    letters = [(now, "10.0.0.7:5", "json:syntax")] * 3 + [(old, "10.0.0.8:5", "x"), (now, None, "x")]
    add_letters(tmp_path / "dead-letters.db", *letters)
    execute(
        tmp_path / "readings.db",
        "CREATE TABLE g (device, room, gap_from, gap_to, missing, noticed_at)",
        f"INSERT INTO g VALUES ('d-1', 'r', 2, 5, 4, '{now}'), ('d-1', 'r', 8, 9, 2, '{now}'),"  # noqa: S608
        f" ('d-2', NULL, 1, 1, 1, '{old}'), ('d-3', NULL, 1, 1, 0, '{now}')",
        "CREATE VIEW gaps AS SELECT * FROM g",
    )
    code, found = await ask("/senders")
    assert code == 200
    assert found["columns"] == ["sender", "source", "found", "records", "last"]
    assert found["rows"] == [
        ["d-1 r", "", "missing numbers", 6, now],
        ["10.0.0.7:5", "lab", "dead letters: json:syntax", 3, now],
        ["host-1", "lab", "rule range of v", 2, minute],
        ["host-2", "lab", "rule dew", 1, minute],
    ]
    assert found["left_out"] == 0


async def test_the_largest_findings_are_shown_and_the_others_counted(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = from_epoch(read_clock().wall_s)
    execute(tmp_path / "streamd.db", "CREATE TABLE x (y)")
    letters = [(now, f"10.0.0.{host}:5", "x") for host in range(5) for _ in range(host + 1)]
    add_letters(tmp_path / "dead-letters.db", *letters)
    monkeypatch.setattr(own_reads, "MOST_SENDERS", 2)
    monkeypatch.setattr(statement.Statement, "run", None)  # tables need no process
    found = (await ask("/senders"))[1]
    assert [row[0] for row in found["rows"]] == ["10.0.0.4:5", "10.0.0.3:5"]
    assert found["left_out"] == 3


@pytest.mark.parametrize(
    "own",
    [
        "CREATE VIEW Gaps AS SELECT * FROM none_such",  # an error as soon as SQLite compiles it
        'CREATE VIEW "QUALITY" AS SELECT * FROM none_such',
        "CREATE VIRTUAL TABLE quality USING fts5(minute, worst_sender)",
    ],
)
def test_what_an_operator_has_made_is_not_even_compiled_within_the_daemon(own: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(own)
        with pytest.raises(own_reads.OthersSql):
            own_reads.senders(connection, "2026", only_own=True)
