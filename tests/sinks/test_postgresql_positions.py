"""Records of an input that is read again are stored once, and only by the process that claimed it last.

With it `postgresql/positions.py`.
"""

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from streamd.core.ack import Ack
from streamd.core.acks import Acks
from streamd.core.batch import Batch
from streamd.core.contracts import SinkContext
from streamd.core.errors import SinkError
from streamd.core.tenure import InputPart, StoredUpTo, Tenure
from streamd.sinks.postgresql import Postgresql
from tests.postgresql_server import PostgresqlServer, needs_postgresql, shared_server

pytestmark = needs_postgresql


class Lab:
    """Sinks on one table, and what is in it."""

    def __init__(self, bench: Any, folder: Path) -> None:
        self.server: PostgresqlServer = shared_server()
        self.table = self.server.new_name()
        self.letters = bench.office.letters
        self._bench, self._folder = bench, folder
        self.sinks: list[Postgresql] = []

    async def open(self, **more: Any) -> Postgresql:
        login = {"address": self.server.socket, "database": "postgres", "user": "postgres"}
        columns = {"columns": {"word": "str", "n": "int"}, "table": self.table}
        config = Postgresql.Config.model_validate({"type": "postgresql", **login, **columns, **more})
        bench = self._bench
        context = SinkContext("store", bench.schemas, self._folder, bench.office, bench.shared)
        sink = Postgresql(config, context)
        self.sinks.append(sink)
        await sink.open()
        return sink

    @property
    def words(self) -> str:
        return "".join(
            word for (word,) in self.server.query(f"SELECT word FROM {self.table} ORDER BY n, word")
        )

    @property
    def positions(self) -> list[Any]:
        return self.server.query(
            'SELECT input, number, rows, epoch FROM streamd_positions WHERE "table" = %s ORDER BY 1',
            self.table,
        )


@pytest.fixture
async def lab(bench: Any, tmp_path: Path) -> AsyncIterator[Lab]:
    made = Lab(bench, tmp_path)
    yield made
    for sink in made.sinks:
        await sink.close()


def batch(tenure: Tenure, *parts: tuple[int, str]) -> Batch:
    records = [{"word": word, "n": n} for n, words in parts for word in words]
    made = Batch.of(records, "s", "p", "readings.1", 1.0, lifted=True)
    made.acks = Acks([(len(words), Ack(lambda _: None, InputPart(tenure, n))) for n, words in parts])
    return made


async def claimed(sink: Postgresql, sequence: str = "W/1") -> Tenure:
    tenure = Tenure(sequence)
    await sink.claim(tenure, "p")
    return tenure


@pytest.mark.parametrize("unique", [[], ["word"]], ids=["plain", "unique"])
async def test_what_is_read_again_after_a_restart_is_stored_once(lab: Lab, unique: list[str]) -> None:
    sink = await lab.open(unique=unique)
    assert sink.keeps_positions
    tenure = await claimed(sink)
    assert tenure.is_new
    written = await sink.write([batch(tenure, (1, "ab"), (2, "cd")), batch(tenure, (3, "e"))])
    assert ([*map(len, written.rejected)], written.left_out) == ([0, 0], None)
    assert lab.positions == [("W/1", 3, 1, 1)]

    sink = await lab.open(unique=unique)
    again = Tenure("W/1")
    assert await sink.claim(again, "p") == (StoredUpTo(3, 1), None)
    assert not again.is_new
    written = await sink.write([batch(again, (2, "cd"), (3, "ef"))])
    assert written.left_out == [dict.fromkeys(range(3), "already_stored")]
    assert lab.words == "abcdef"
    assert lab.positions == [("W/1", 3, 2, 2)]


@pytest.mark.parametrize("bad", [False, True])
async def test_a_process_whose_claim_is_over_stores_nothing_of_that_input(lab: Lab, bad: bool) -> None:
    old, new = await lab.open(), await lab.open()
    mine, others = await claimed(old), await claimed(old, "W/2")
    await old.write([batch(mine, (1, "a"))])
    ended: list[str] = []
    mine._on_end = ended.append
    late = batch(mine, (2, "x"))
    if bad:
        late.records[0]["word"] = "\0"
    theirs = Tenure("W/1")
    assert (await new.claim(theirs, "p")).stored == StoredUpTo(1, 1)
    written = await old.write([late, batch(others, (7, "b"))])
    assert written.left_out == [{0: "handed_over"}, {}]
    assert (ended, mine.ended, others.ended) == (["fenced"], True, False)
    await new.write([batch(theirs, (2, "y"))])
    assert lab.words == "ayb"
    assert lab.positions == [("W/1", 2, 1, 2), ("W/2", 7, 1, 1)]


async def test_a_rejected_record_is_part_of_what_is_stored(lab: Lab) -> None:
    sink = await lab.open()
    tenure = await claimed(sink)
    first = batch(tenure, (1, "abc"))
    first.records[1]["word"] = "\0"
    assert (await sink.write([first])).rejected == [[1]]
    assert lab.positions == [("W/1", 1, 3, 1)]
    assert len(lab.letters) == 1
    again = await claimed(sink)
    assert (await sink.write([batch(again, (1, "abcd"))])).left_out == [
        dict.fromkeys(range(3), "already_stored")
    ]
    assert lab.words == "acd"


async def test_a_state_is_kept_until_somebody_else_claims_the_input(lab: Lab) -> None:
    old, new = await lab.open(), await lab.open()
    mine = await claimed(old)
    await old.keep_state(mine, "p", b"one")
    await old.keep_state(mine, "p", b"\0two")
    theirs = Tenure("W/1")
    assert await new.claim(theirs, "p") == (StoredUpTo(0, 0), b"\0two")
    await old.keep_state(mine, "p", b"three")
    assert mine.ended
    await new.keep_state(theirs, "p", b"four")
    assert (await old.claim(Tenure("W/1"), "p")).state == b"four"


async def test_a_process_that_stands_still_in_a_transaction_holds_up_no_claim(lab: Lab) -> None:
    old, new = await lab.open(), await lab.open()
    mine = await claimed(old)
    await old.write([batch(mine, (1, "a"))])
    session = old._session
    assert session is not None
    connection, _ = await session.run(session.connection)
    await session.run(partial(connection.execute, "BEGIN"))
    update = 'UPDATE streamd_positions SET number = 9 WHERE "table" = %s'
    await session.run(partial(connection.execute, update, (lab.table,)))
    theirs = Tenure("W/1")
    assert (await new.claim(theirs, "p")).stored == StoredUpTo(1, 1)
    with pytest.raises(SinkError):
        await old.write([batch(mine, (2, "x"))])
    assert (await old.write([batch(mine, (2, "x"))])).left_out == [{0: "handed_over"}]
    await new.write([batch(theirs, (2, "y"))])
    assert lab.words == "ay"


async def test_the_outcome_of_a_broken_commit_is_that_of_its_position(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = await lab.open()
    tenure = await claimed(sink)
    assert sink._store is not None
    really: Callable[..., Any] = __import__("streamd.postgresql.store", fromlist=["commit"]).commit

    def broken(connection: Any) -> None:
        really(connection)
        connection.close()
        monkeypatch.undo()
        raise __import__("psycopg").OperationalError("the connection is lost")

    monkeypatch.setattr("streamd.postgresql.store.commit", broken)
    given = [batch(tenure, (1, "ab"))]
    with pytest.raises(SinkError):
        await sink.write(given)
    tenure.ended = True  # another process may have it by now; what was committed is committed
    written = await sink.write(given)
    assert (written.rejected_counts, written.left_out) == ([0], None)
    assert lab.words == "ab"
    assert lab.positions == [("W/1", 1, 2, 1)]
