"""Letters whose records a step keeps: none is deleted before what becomes of them is committed."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from streamd import config
from streamd.cli.query import open_read_only
from streamd.core.ack import Status
from streamd.core.dead_letter import DeadLetter
from streamd.dead_letters.dead_letters import DeadLetters
from streamd.dead_letters.filter import LetterFilter
from streamd.replay import replay as replay_module
from streamd.replay.letters import plan
from streamd.replay.outcome import Outcome
from streamd.replay.replay import Replay
from streamd.sqlite.databases import Databases

pytestmark = pytest.mark.usefixtures("other_package")

CONFIG = """
[daemon]
state_dir = "{folder}/var"
[admin]
listen = "none"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["lab"]
steps = [{steps}]
sinks = ["all"]
{more}
[sinks.all]
type = "sqlite"
path = "streamd.db"
table = "everything"
{sink}
"""
PLAIN = """
[pipelines.plain]
sources = ["lab"]
sinks = ["plain"]
[sinks.plain]
type = "sqlite"
path = "plain.db"
"""
COUNT = '{ type = "count", by = "key" }'
TOTALS = '{ type = "totals", by = "key", sum_of = "n", every = "1h" }'
DELAY = '{ type = "delay", by = "1h" }'
TALLY = '{ type = "tally", size = 3 }'


async def replayed(
    folder: Path, count: int, steps: str, more: str = "", sink: str = ""
) -> tuple[Outcome, list[int]]:
    """The outcome of a replay of so many letters, and how many had their fate after each window."""
    (folder / "streamd.toml").write_text(CONFIG.format(folder=folder, steps=steps, more=more, sink=sink))
    loaded = config.load(folder / "streamd.toml")
    path = loaded.state_dir / "dead-letters.db"
    store = DeadLetters(path, config.DeadLetterSettings(), Databases(), payloads={})
    await store.open()
    letters = [
        DeadLetter(b'{"key":"a","n":%d}' % n, "decode", "why", source="lab", peer="x", received_at=1e9)
        for n in range(count)
    ]
    await store.commit(letters)
    await store.close()
    with closing(open_read_only(path)) as connection:
        replay = Replay(loaded, plan(connection, LetterFilter()))
    progress: list[int] = []
    outcome = await replay.run(progress.append)
    assert outcome.differences == []
    return outcome, progress


def left(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "var" / "dead-letters.db")) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM dead_letters")
    return int(count)


def stored(folder: Path, table: str = "everything", db: str = "streamd.db") -> list[str]:
    with closing(sqlite3.connect(folder / "var" / db)) as connection:
        return [row[0] for row in connection.execute(f"SELECT record FROM {table} ORDER BY id")]  # noqa: S608


async def test_letters_that_a_step_keeps_in_its_state_stay(tmp_path: Path) -> None:
    outcome, _ = await replayed(tmp_path, 3, TOTALS)
    assert (outcome.held, outcome.fates, outcome.gone) == ({"main > totals[0]": 3}, {}, 0)
    assert (left(tmp_path), stored(tmp_path)) == (3, [])


async def test_a_step_that_gives_up_what_it_has_kept_at_the_end_keeps_no_letter(tmp_path: Path) -> None:
    outcome, progress = await replayed(tmp_path, 3, DELAY)
    assert (outcome.held, outcome.fates) == ({}, {Status.DELIVERED: 3})
    assert progress == [0, 3], "none was deleted before the last tick"
    assert left(tmp_path) == 0
    assert stored(tmp_path) == [f'{{"key":"a","n":{n}}}' for n in range(3)]


async def test_letters_are_kept_over_the_windows_of_a_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_module, "LETTERS_AT_ONCE", 2)
    outcome, progress = await replayed(tmp_path, 5, DELAY)
    assert (outcome.fates, progress) == ({Status.DELIVERED: 5}, [0, 0, 0, 5])
    assert (left(tmp_path), len(stored(tmp_path))) == (0, 5)


@pytest.mark.parametrize(("count", "held"), [(3, 0), (6, 0), (4, 4), (2, 2)])
async def test_a_step_whose_state_is_as_it_was_at_the_beginning_keeps_nothing(
    tmp_path: Path, count: int, held: int
) -> None:
    outcome, _ = await replayed(tmp_path, count, TALLY)
    assert outcome.held.total() == left(tmp_path) == held
    assert outcome.gone == count - held
    assert stored(tmp_path) == ['{"n":3}'] * (count // 3)


async def test_what_a_step_makes_at_the_end_may_be_kept_by_the_next_one(tmp_path: Path) -> None:
    outcome, _ = await replayed(tmp_path, 2, f"{DELAY}, {TOTALS}")
    assert (outcome.held, left(tmp_path)) == ({"main > totals[1]": 2}, 2)


async def test_what_a_step_makes_at_the_end_may_be_refused(tmp_path: Path) -> None:
    outcome, _ = await replayed(tmp_path, 2, DELAY, sink='columns = { n = "int" }\nextra = "reject"')
    assert (outcome.fates, outcome.held, left(tmp_path)) == ({Status.REJECTED: 2}, {}, 2)


async def test_a_letter_that_one_of_two_pipelines_keeps_stays(tmp_path: Path) -> None:
    outcome, _ = await replayed(tmp_path, 3, TOTALS, PLAIN)
    assert (outcome.held, outcome.fates, left(tmp_path)) == ({"main > totals[0]": 3}, {}, 3)
    assert len(stored(tmp_path, "records", "plain.db")) == 3


async def test_steps_are_opened_and_those_that_keep_no_record_keep_no_letter(tmp_path: Path) -> None:
    outcome, _ = await replayed(tmp_path, 2, COUNT)
    assert (outcome.fates, outcome.held, left(tmp_path)) == ({Status.DELIVERED: 2}, {}, 0)
    assert stored(tmp_path) == ['{"key":"a","n":1}', '{"key":"a","n":2}']
