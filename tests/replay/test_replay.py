import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streamd import config
from streamd.cli.query import open_read_only
from streamd.core.ack import Status
from streamd.core.dead_letter import DeadLetter, Withheld
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.dead_letters.dead_letters import DeadLetters
from streamd.dead_letters.filter import LetterFilter
from streamd.redaction.actions import keyed_hash
from streamd.replay.letters import Origin, plan
from streamd.replay.outcome import Outcome
from streamd.replay.replay import Replay
from streamd.replay.ways import why_not
from streamd.sqlite.databases import Databases

EIGHT = 1_769_846_400.25
"""2026-01-31T08:00:00.250000Z"""
CONFIG = """
[daemon]
state_dir = "{folder}/var"
[admin]
listen = "none"
[schemas.reading]
id = "int"
value = "float"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
schema = "reading"
[sources.floor]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["lab", "floor"]
steps = [{{ type = "filter", where = "value != 13" }}]
sinks = ["readings", {{ name = "all", where = "id < 100" }}]
[sinks.readings]
type = "sqlite"
path = "data.db"
table = "readings"
columns = {{ id = "int", value = "float" }}
unique = ["id"]
metadata = true
[sinks.all]
type = "sqlite"
path = "streamd.db"
table = "everything"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "streamd.toml").write_text(CONFIG.format(folder=tmp_path))
    return tmp_path


def letter(payload: Any, stage: str = "decode", **more: Any) -> DeadLetter:
    given: dict[str, Any] = {"source": "lab", "peer": "10.0.0.1", "received_at": EIGHT, "pipeline": "main"}
    return DeadLetter(payload, stage, "why", **(given | more))


async def keep(folder: Path, *letters: DeadLetter, **payloads: Any) -> None:
    path = folder / "var" / "dead-letters.db"
    store = DeadLetters(path, config.DeadLetterSettings(), Databases(), payloads=payloads)
    await store.open()
    await store.commit(list(letters))
    await store.close()


def prepared(folder: Path, wanted: LetterFilter | None = None, limit: int | None = None) -> Replay:
    loaded = config.load(folder / "streamd.toml")
    with closing(open_read_only(folder / "var" / "dead-letters.db")) as connection:
        return Replay(loaded, plan(connection, wanted or LetterFilter(), limit))


async def replay(folder: Path, wanted: LetterFilter | None = None, limit: int | None = None) -> Outcome:
    progress: list[int] = []
    outcome = await prepared(folder, wanted, limit).run(progress.append)
    assert progress == sorted(progress)
    assert outcome.differences == []
    return outcome


def ask(folder: Path, sql: str, db: str = "dead-letters.db") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "var" / db)) as connection:
        return connection.execute(sql).fetchall()


def numbers(folder: Path) -> list[int]:
    return [number for (number,) in ask(folder, "SELECT id FROM dead_letters ORDER BY id")]


EVERYTHING = "SELECT source, record FROM everything"
READINGS = "SELECT id, value, received_at, source, peer FROM readings ORDER BY id"


async def test_a_frame_goes_through_its_codec_and_keeps_its_source_peer_and_time(folder: Path) -> None:
    await keep(folder, letter(b'{"id": 1, "value": 2}'), letter(b'{"id": 2, "value": 13}'))
    outcome = await replay(folder)
    assert outcome.fates == {Status.DELIVERED: 1, Status.FILTERED: 1}
    assert ask(folder, READINGS, "data.db") == [(1, 2.0, "2026-01-31T08:00:00.250000Z", "lab", "10.0.0.1")]
    assert ask(folder, EVERYTHING, "streamd.db") == [("lab", '{"id":1,"value":2.0}')]
    assert numbers(folder) == []


async def test_a_record_goes_in_at_the_first_step_with_its_own_time(folder: Path) -> None:
    lifted = {
        "@source": "floor", "@peer": "10.0.0.7", "@received_at": "2026-01-31T07:00:00.000001Z",
        "id": 1, "value": 2.5,
    }  # fmt: skip
    filtered = {"id": 2, "value": 13}
    await keep(
        folder, letter(lifted, "filter[0]", source="floor"), letter(filtered, "filter[0]", source="old")
    )
    outcome = await replay(folder)
    assert outcome.fates == {Status.DELIVERED: 1, Status.FILTERED: 1}
    assert ask(folder, READINGS, "data.db") == [(1, 2.5, "2026-01-31T07:00:00.000001Z", "floor", "10.0.0.7")]
    assert ask(folder, EVERYTHING, "streamd.db") == [("floor", '{"id":1,"value":2.5}')]


async def test_what_one_sink_refused_goes_to_that_sink_only(folder: Path) -> None:
    await keep(folder, letter({"id": 1, "value": 2.5}, "sink", sink="readings"))
    outcome = await replay(folder)
    assert outcome.fates == {Status.DELIVERED: 1}
    assert [row[0] for row in ask(folder, READINGS, "data.db")] == [1]
    assert not (folder / "var" / "streamd.db").exists() or not ask(
        folder, "SELECT name FROM sqlite_schema WHERE name = 'everything'", "streamd.db"
    )


async def test_what_is_refused_again_is_there_once_with_its_present_reason(folder: Path) -> None:
    await keep(
        folder,
        letter(b"{"),
        letter({"id": "one", "value": 1}, "sink", sink="readings"),
        letter(b'{"id": 1, "value": "x"}', source="floor"),
    )
    outcome = await replay(folder)
    assert outcome.fates == {Status.REJECTED: 3}
    found = ask(folder, "SELECT source, stage, sink, reason, received_at, peer FROM dead_letters ORDER BY id")
    assert sorted((source, stage, sink) for source, stage, sink, *_ in found) == [
        ("floor", "sink", "readings"), ("lab", "decode", None), ("lab", "sink", "readings"),
    ]  # fmt: skip
    assert {row[3] for row in found}.isdisjoint({"why"})
    assert {row[4:] for row in found} == {("2026-01-31T08:00:00.250000Z", "10.0.0.1")}
    again = await replay(folder)
    assert again.fates == {Status.REJECTED: 3}
    assert len(numbers(folder)) == 3


async def test_letters_that_cannot_go_in_stay_and_are_told(folder: Path) -> None:
    await keep(
        folder,
        letter(b"secret"),
        letter({"id": 1}, source="private"),
        lab="hash", private="none",
    )  # fmt: skip
    await keep(
        folder,
        letter({"x": float("nan")}, "filter[0]"),
        letter({"id": 1}, "filter[0]", pipeline="gone"),
        letter(b"{}", source="gone"),
        letter({"id": 1}, "sink", sink="gone"),
    )
    outcome = await replay(folder)
    assert outcome.fates == {}
    assert +outcome.impossible == {
        "the payload was not kept (hash)": 1,
        "the payload was not kept (none)": 1,
        "the record had no JSON": 1,
        "there is no pipeline 'gone' now": 1,
        "there is no source 'gone' now": 1,
        "the pipeline 'main' has no sink 'gone' now": 1,
    }
    assert numbers(folder) == [1, 2, 3, 4, 5, 6]


async def test_a_frame_refused_before_any_pipeline_goes_to_all_that_read_its_source(folder: Path) -> None:
    with (folder / "streamd.toml").open("a") as file:
        file.write('[pipelines.other]\nsources = ["lab"]\nsinks = ["other"]\n')
        file.write('[sinks.other]\ntype = "sqlite"\npath = "data.db"\ntable = "other"\n')
    await keep(folder, letter(b'{"id": 1, "value": 2}', pipeline=None), letter(b"{", pipeline=None))
    outcome = await replay(folder)
    assert outcome.fates == {Status.DELIVERED: 1, Status.REJECTED: 1}
    assert len(ask(folder, READINGS, "data.db")) == len(ask(folder, "SELECT 1 FROM other", "data.db")) == 1
    assert ask(folder, "SELECT pipeline, payload FROM dead_letters") == [(None, b"{")]


async def test_filters_and_the_limit_choose_the_oldest(folder: Path) -> None:
    frames = [letter(b'{"id": %d, "value": 1}' % number) for number in range(1, 6)]
    await keep(folder, letter(b'{"id": 9, "value": 1}', source="floor"), *frames)
    outcome = await replay(folder, LetterFilter(source="lab"), limit=3)
    assert outcome.fates == {Status.DELIVERED: 3}
    assert numbers(folder) == [1, 5, 6]


async def test_more_letters_than_go_at_once(folder: Path) -> None:
    await keep(folder, *(letter(b'{"id": %d, "value": 1}' % number) for number in range(2500)))
    outcome = await replay(folder)
    assert outcome.fates == {Status.DELIVERED: 2500}
    assert ask(folder, "SELECT count(*), count(DISTINCT id) FROM readings", "data.db") == [(2500, 2500)]
    assert numbers(folder) == []


async def test_the_chunks_of_a_message_that_do_not_go_at_once_are_joined(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamd.replay.replay.LETTERS_AT_ONCE", 2)
    text = (folder / "streamd.toml").read_text()
    codec = 'codec = { type = "gelf", chunk_timeout = "1h" }'
    (folder / "streamd.toml").write_text(
        text.replace('codec = "json"', codec).replace('schema = "reading"', "", 1)
    )
    message = b'{"short_message": "one", "id": 1, "value": 2}'
    chunks = [b"\x1e\x0f12345678" + bytes((n, 3)) + message[n * 16 : n * 16 + 16] for n in range(3)]
    alone = b"\x1e\x0f87654321" + bytes((0, 2)) + message[:16]
    await keep(folder, *map(letter, [*chunks, alone]))
    outcome = await replay(folder)
    assert outcome.fates == {Status.DELIVERED: 3, Status.REJECTED: 1}
    assert ask(folder, "SELECT payload FROM dead_letters") == [(alone,)]


async def test_a_stop_leaves_what_has_not_begun(folder: Path) -> None:
    await keep(folder, *(letter(b'{"id": %d, "value": 1}' % number) for number in range(2500)))
    run = prepared(folder)
    outcome = await run.run(lambda _: run.stop())
    assert outcome.done == 1000
    assert len(numbers(folder)) == 1500
    assert ask(folder, "SELECT count(*) FROM readings", "data.db") == [(1000,)]


async def test_the_books_say_replay_whatever_the_source_was(folder: Path) -> None:
    await keep(
        folder,
        letter(b'{"id": 1, "value": 2}'),
        letter(b'{"id": 2, "value": 2}', source="floor"),
        letter(b"{", source="floor"),
    )
    await replay(folder)
    ledger = ask(
        folder,
        "SELECT source, sink, counter, sum(n) FROM ledger WHERE source <> '' AND n <> 0 GROUP BY 1, 2, 3",
        "streamd.db",
    )
    assert {source for source, *_ in ledger} == {"replay"}
    sums = {(sink, counter): n for _, sink, counter, n in ledger}
    assert sums["", "received"] == 3
    assert sums["", "decoded"] == 2
    assert sums["", "rejected"] == 1
    assert sums["readings", "stored"] == sums["all", "stored"] == sums["all", "offered"] == 2
    runs = ask(
        folder,
        "SELECT counter FROM ledger WHERE counter IN ('start', 'stop', 'unclean')",
        "streamd.db",
    )
    assert sorted(runs) == [("start",), ("stop",)]


async def test_a_second_replay_at_the_same_time_is_refused(folder: Path) -> None:
    await keep(folder, letter(b'{"id": 1, "value": 2}'))
    refused: list[str] = []

    async def try_another() -> None:
        with pytest.raises(EnvironmentFault, match="another replay") as fault:
            await prepared(folder).run(lambda _: None)
        refused.append(str(fault.value))

    first = prepared(folder)
    opened = first.parts.sinks["readings"].open

    async def open_and_try() -> None:
        await try_another()
        await opened()

    first.parts.sinks["readings"].open = open_and_try  # type: ignore[method-assign]  # the moment wanted
    outcome = await first.run(lambda _: None)
    assert len(refused) == 1
    assert outcome.fates == {Status.DELIVERED: 1}


async def test_a_sink_that_cannot_open_keeps_only_its_own_letters(folder: Path) -> None:
    await keep(folder, letter(b'{"id": 1, "value": 2}'), letter({"id": 2, "value": 2}, "sink", sink="all"))
    (folder / "var" / "data.db").mkdir()
    outcome = await replay(folder)
    assert outcome.fates == {Status.DELIVERED: 1}
    (why,) = +outcome.impossible
    assert "data.db" in why
    assert numbers(folder) == [1]
    assert ask(folder, EVERYTHING, "streamd.db") == [("lab", '{"id":2,"value":2}')]


async def test_a_mark_of_the_daemon_on_a_record_is_kept(folder: Path) -> None:
    await keep(folder, letter({"id": 1, "value": 2, "@flag": "truncated"}, "sink", sink="all"))
    await replay(folder)
    assert ask(folder, EVERYTHING, "streamd.db") == [("lab", '{"id":1,"value":2,"@flag":"truncated"}')]


async def test_dead_letters_that_cannot_be_read_are_the_environments_fault(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keep(folder, letter(b'{"id": 1, "value": 2}'))
    monkeypatch.setattr("streamd.replay.replay.WINDOW", "SELECT * FROM somewhere_else")
    with pytest.raises(EnvironmentFault, match=r"cannot read the dead letters .*: no such table"):
        await replay(folder)
    assert numbers(folder) == [1]


async def test_a_configuration_that_is_still_wrong_is_told(folder: Path) -> None:
    await keep(folder, letter(b"{}"))
    text = (folder / "streamd.toml").read_text()
    (folder / "streamd.toml").write_text(text.replace("value != 13", "value !="))
    with pytest.raises(ConfigError, match="where"):
        prepared(folder)


@pytest.mark.parametrize(
    ("origin", "why"),
    [
        (Origin("lab", None, None, "frame"), None),
        (Origin("old", "main", None, "record"), None),
        (Origin("lab", "main", "all", "record"), None),
        (Origin("old", None, None, "frame"), "there is no source 'old' now"),
    ],
)
def test_which_letters_can_go_in(folder: Path, origin: Origin, why: str | None) -> None:
    assert why_not(config.load(folder / "streamd.toml"), origin) == why


REDACT = 'redact = { peer = "hash", key = "key", rules = [{ fields = ["name"], action = "hash" }] }'


async def test_letters_of_a_source_that_redacts_are_redacted_once(folder: Path) -> None:
    """Letters from before the option are redacted now; those that were redacted keep their hashes."""
    (folder / "key").write_bytes(b"0123456789abcdef")
    (folder / "key").chmod(0o600)
    with (folder / "streamd.toml").open("r+") as file:
        text = file.read().replace('codec = "json"\n[pipelines', f'codec = "json"\n{REDACT}\n[pipelines')
        file.seek(0)
        file.write(text)
    hashed = keyed_hash(b"0123456789abcdef", 32)
    name, peer = hashed("Alice"), hashed("10.0.0.1")
    old = {"source": "floor", "peer": "10.0.0.1:5"}
    await keep(
        folder,
        letter(b'{"id": 1, "value": 1, "name": "Alice"}', **old),
        letter({"id": 2, "value": 1, "name": "Alice"}, "filter[0]", **old),
        letter({"id": 3, "value": 1, "name": name}, "filter[0]", source="floor", peer=peer),
        letter(Withheld(b"<withheld by redact: 7 bytes>"), source="floor", peer=peer),
    )
    outcome = await replay(folder)
    assert +outcome.impossible == {"the payload was not kept (withheld)": 1}
    rows = ask(folder, "SELECT peer, record FROM everything", "streamd.db")
    assert rows == [(peer, f'{{"id":{n},"value":1,"name":"{name}"}}') for n in (1, 2, 3)]
