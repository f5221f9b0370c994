import asyncio
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamd.config import DeadLetterSettings
from streamd.core.ack import Ack, Status
from streamd.core.acks import Acks
from streamd.core.dead_letter import DeadLetter
from streamd.core.errors import EnvironmentFault, SinkError
from streamd.core.frames import FlaggedFrame
from streamd.core.now import Now
from streamd.core.sums import Entry
from streamd.dead_letters.dead_letters import DeadLetters
from streamd.sqlite.databases import Databases

Until = Callable[[Callable[[], bool]], Awaitable[None]]

MIB = 2**20


class Clock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1_769_846_400.0

    def __call__(self) -> Now:
        return Now(self.now_s, self.now_s)


def bounds(max_size: str = "1MiB", rate: int = 1000, burst: int = 10_000) -> DeadLetterSettings:
    return DeadLetterSettings.model_validate({"max_size": max_size, "rate": rate, "burst": burst})


def letter(payload: Any = b"{", reason: str = "json:syntax", **more: Any) -> DeadLetter:
    return DeadLetter(payload, "decode", reason, source="lab", received_at=1_769_846_400.0, **more)


def rows(path: Path, what: str = "*") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT {what} FROM dead_letters ORDER BY id").fetchall()  # noqa: S608 - our own words


def not_kept(store: DeadLetters) -> dict[str, int]:
    found = ((fate.removeprefix("not_kept_"), n) for fate, n in store.counts.items() if n)
    return {why: n for why, n in found if why not in ("kept", "evicted")}


class Lock:
    """Somebody else who writes into the file and does not end."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_: object) -> None:
        self._connection.close()


@pytest.fixture
async def store(tmp_path: Path) -> DeadLetters:
    return DeadLetters(tmp_path / "dead.db", bounds(), Databases(), clock=Clock())


async def test_a_frame_is_kept_byte_for_byte_and_a_record_as_json(store: DeadLetters) -> None:
    await store.open()
    frame = DeadLetter(
        FlaggedFrame(b"\xff\x00", "truncated"), "decode", "utf8", "bad byte", "lab", "10.0.0.1", 0.5, "main"
    )
    record = DeadLetter({"a": 1}, "sink", "type", source="lab", pipeline="main", sink="db")
    await store.commit([frame, record])
    await store.close()
    first, second = rows(store.path)
    assert first[:6] == (1, "1970-01-01T00:00:00.500000Z", "lab", "10.0.0.1", "main", None)
    assert first[6:] == ("decode", "utf8", "bad byte", "frame", b"\xff\x00")
    assert second[:6] == (2, "1970-01-01T00:00:00.000000Z", "lab", None, "main", "db")
    assert second[6:] == ("sink", "type", "", "record", '{"a":1}')
    assert store.counts["kept"] == 2
    assert store.waiting == store.waiting_bytes == 0


async def test_an_ack_comes_only_after_the_commit(store: DeadLetters) -> None:
    await store.open()
    seen: list[tuple[Status, int]] = []
    done = asyncio.Event()

    def settled(status: Status) -> None:
        seen.append((status, len(rows(store.path))))
        done.set()

    store.keep([letter()] * 3, Acks.same(Ack(settled), 3))
    assert seen == []
    await done.wait()
    assert seen == [(Status.REJECTED, 3)]
    await store.close()


async def test_over_the_rate_is_counted_and_its_ack_says_dropped(tmp_path: Path) -> None:
    clock = Clock()
    store = DeadLetters(tmp_path / "dead.db", bounds(rate=10, burst=5), Databases(), clock=clock)
    await store.open()
    verdicts: list[Status] = []
    store.keep([letter()] * 7, Acks.same(Ack(verdicts.append), 7))
    store.keep([letter()], Acks.same(Ack(verdicts.append), 1))
    assert verdicts == [Status.DROPPED]
    clock.now_s += 0.35
    store.keep([letter()] * 4, Acks.same(Ack(verdicts.append), 4))
    clock.now_s += 3600
    store.keep([letter()] * 5, Acks.same(Ack(verdicts.append), 5))
    await store.close()
    assert verdicts == [Status.DROPPED, Status.DROPPED, Status.DROPPED, Status.REJECTED]
    assert store.counts["kept"] == len(rows(store.path)) == 5 + 3 + 5
    assert not_kept(store) == {"rate": 2 + 1 + 1}


@pytest.mark.usefixtures("a_lock_is_noticed_at_once")
async def test_memory_is_bounded_while_nobody_can_write(tmp_path: Path, until: Until) -> None:
    store = DeadLetters(tmp_path / "dead.db", bounds(), Databases(), clock=Clock(), max_waiting_bytes=100_000)
    await store.open()
    with Lock(store.path):
        for _ in range(100):
            store.keep([letter(b"x" * 10_000)])
            await asyncio.sleep(0)
        await until(lambda: store.trouble is not None)
        assert store.waiting_bytes <= 100_000
        assert store.waiting + not_kept(store)["queue"] == 100
        assert 0 < store.waiting < 10
    await until(lambda: store.waiting == 0)
    assert store.trouble is None
    assert store.counts["kept"] + not_kept(store)["queue"] == 100
    await store.close()
    assert len(rows(store.path)) == store.counts["kept"]


@pytest.mark.usefixtures("a_lock_is_noticed_at_once")
async def test_a_sink_is_told_to_try_again_and_its_letters_are_kept_once(
    tmp_path: Path, until: Until
) -> None:
    clock = Clock()
    store = DeadLetters(tmp_path / "dead.db", bounds(rate=1, burst=10), Databases(), clock=clock)
    await store.open()
    letters = [letter(f"{number}".encode()) for number in range(10)]
    with Lock(store.path):
        attempt = asyncio.create_task(store.commit(letters))
        await until(lambda: store.trouble is not None)
        assert not attempt.done()
        clock.now_s += 5.0
        with pytest.raises(SinkError, match="dead_letters"):
            await attempt
        assert store.waiting == store.waiting_bytes == store.counts["kept"] == 0
    await store.commit(letters)
    await store.close()
    assert rows(store.path, "payload") == [(f"{number}".encode(),) for number in range(10)]
    assert store.counts["kept"] == 10
    assert not_kept(store) == {}


async def test_a_sink_that_gave_up_waiting_is_nobody_to_answer(store: DeadLetters) -> None:
    await store.open()
    attempt = asyncio.create_task(store.commit([letter()]))
    await asyncio.sleep(0)
    attempt.cancel()
    await asyncio.wait((attempt,))
    await store.close()
    assert store.counts["kept"] == len(rows(store.path)) == 1


@pytest.mark.usefixtures("a_lock_is_noticed_at_once")
async def test_a_close_that_cannot_write_counts_what_is_left(tmp_path: Path) -> None:
    store = DeadLetters(tmp_path / "dead.db", bounds(), Databases(), clock=Clock())
    await store.open()
    verdicts: list[Status] = []
    with Lock(store.path):
        store.keep([letter()] * 3, Acks.same(Ack(verdicts.append), 3))
        await store.close(timeout_s=0.05)
    assert verdicts == [Status.DROPPED]
    assert not_kept(store) == {"shutdown": 3}
    assert store.waiting == store.waiting_bytes == 0
    store.keep([letter()], Acks.same(Ack(verdicts.append), 1))
    assert not_kept(store) == {"shutdown": 4}
    await store.close()


async def test_the_oldest_are_evicted_and_the_file_stays_within_its_size(tmp_path: Path) -> None:
    clock = Clock()
    store = DeadLetters(tmp_path / "dead.db", bounds(), Databases(), clock=clock)
    await store.open()
    for number in range(60):
        await store.commit([letter(bytes([number]) * 4000) for _ in range(10)])
    await store.close()
    found = rows(store.path, "id, payload")
    assert store.path.stat().st_size <= MIB
    assert store.counts["evicted"] + len(found) == store.counts["kept"] == 600
    assert [number for number, _ in found] == list(range(601 - len(found), 601)), "the newest are kept"
    assert len(found) > 120, "no more is evicted than has to be"


async def test_numbers_of_evicted_letters_are_not_given_again(tmp_path: Path) -> None:
    store = DeadLetters(tmp_path / "dead.db", bounds(), Databases(), clock=Clock())
    await store.open()
    await store.commit([letter()])
    await store.close()
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute("DELETE FROM dead_letters")
        connection.commit()
    store = DeadLetters(store.path, bounds(), Databases(), clock=Clock())
    await store.open()
    await store.commit([letter()])
    await store.close()
    assert rows(store.path, "id") == [(2,)]


async def test_a_lower_size_is_met_at_the_next_start(tmp_path: Path) -> None:
    store = DeadLetters(tmp_path / "dead.db", bounds("8MiB"), Databases(), clock=Clock())
    await store.open()
    await store.commit([letter(b"x" * 100_000)] * 15)
    await store.close()
    before = store.path.stat().st_size
    store = DeadLetters(store.path, bounds("1MiB"), Databases(), clock=Clock())
    await store.open()
    await store.close()
    assert before > MIB >= store.path.stat().st_size
    assert store.counts["evicted"] + len(rows(store.path)) == 15
    assert len(rows(store.path)) > 5


async def test_one_letter_too_large_for_the_file_is_counted(store: DeadLetters) -> None:
    await store.open()
    await store.commit([letter(b"x" * MIB), letter(b"small")])
    await store.close()
    assert rows(store.path, "payload") == [(b"small",)]
    assert not_kept(store) == {"size": 1}


async def test_each_sender_hears_whether_its_own_letter_was_kept(tmp_path: Path) -> None:
    store = DeadLetters(tmp_path / "dead.db", bounds(), Databases(), clock=Clock(), max_waiting_bytes=100_000)
    told: list[list[Status]] = [[], [], [], []]
    await store.open()
    store.keep(
        [letter(b"first"), letter(b"x" * MIB), letter(b"x" * 150_000), letter(b"last")],
        Acks([(1, Ack(each.append)) for each in told]),
    )
    await store.close()
    assert rows(store.path, "payload") == [(b"first",), (b"last",)]
    assert not_kept(store) == {"size": 1, "queue": 1}
    assert told == [[Status.REJECTED], [Status.DROPPED], [Status.DROPPED], [Status.REJECTED]]


async def test_hostile_texts_are_kept(store: DeadLetters) -> None:
    await store.open()
    hostile = "\ud800\x00\x1b[2J'; DROP TABLE dead_letters; --"
    await store.commit([DeadLetter({"a": hostile}, hostile, hostile, hostile * 100, hostile, hostile, 1e300)])
    await store.close()
    ((reason, detail, payload),) = rows(store.path, "reason, detail, payload")
    assert reason.startswith("\\ud800\x00\x1b")
    assert len(detail) < 2000
    assert payload.startswith('{"a":"\\ud800')


async def test_what_is_kept_of_a_payload_is_chosen_by_source(tmp_path: Path) -> None:
    store = DeadLetters(tmp_path / "dead.db", bounds(), Databases(), clock=Clock(), payloads={"lab": "none"})
    await store.open()
    await store.commit([letter(b"secret"), DeadLetter(b"open", "decode", "utf8", source="floor")])
    await store.close()
    assert rows(store.path, "kind, payload") == [("none", ""), ("frame", b"open")]


async def test_a_folder_that_cannot_be_made_is_the_environments_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = DeadLetters(tmp_path / "file" / "dead.db", bounds(), Databases(), clock=Clock())
    with pytest.raises(EnvironmentFault, match=r"dead\.db"):
        await store.open()
    await store.close()


async def test_a_table_that_takes_no_letters_is_refused_at_the_start(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "dead.db")) as connection:
        connection.execute("CREATE VIEW dead_letters AS SELECT 1")
        connection.commit()
    store = DeadLetters(tmp_path / "dead.db", bounds(), Databases(), clock=Clock())
    with pytest.raises(EnvironmentFault, match=r"cannot write the dead letters .* it is a view"):
        await store.open()


async def test_a_table_that_takes_no_letters_any_more_is_trouble_and_no_crash(
    tmp_path: Path, until: Until
) -> None:
    store = DeadLetters(tmp_path / "dead.db", bounds(), Databases(), clock=Clock())
    await store.open()
    with closing(sqlite3.connect(tmp_path / "dead.db")) as connection:
        connection.executescript("DROP TABLE dead_letters; CREATE VIEW dead_letters AS SELECT 1")
    store.keep([letter()])
    await until(lambda: store.trouble is not None)
    await store.close(timeout_s=0)
    assert not_kept(store) == {"shutdown": 1}


async def test_the_counts_are_entries_of_the_ledger(store: DeadLetters) -> None:
    await store.open()
    await store.commit([letter(b"x" * MIB), letter()])
    assert list(store.entries()) == [
        Entry("", "", "", "dead_letters_evicted", "", 0),
        Entry("", "", "", "dead_letters_kept", "", 1),
        Entry("", "", "", "dead_letters_not_kept_size", "", 1),
        Entry("", "", "", "dead_letters_waiting", "", 0),
    ]
    await store.close()


calls = st.lists(
    st.one_of(
        st.tuples(st.just("keep"), st.lists(st.integers(0, 300_000), max_size=8)),
        st.tuples(st.just("commit"), st.lists(st.integers(0, 300_000), max_size=8)),
        st.tuples(st.just("wait"), st.integers(0, 30)),
        st.tuples(st.just("turn"), st.integers(1, 5)),
    ),
    max_size=25,
)


@given(calls=calls)
@settings(max_examples=25, deadline=None)
def test_every_letter_is_counted_once_whatever_the_order(calls: list[tuple[str, Any]]) -> None:
    async def scenario(folder: Path) -> None:
        clock = Clock()
        store = DeadLetters(
            folder / "dead.db", bounds(rate=1, burst=12), Databases(), clock=clock, max_waiting_bytes=400_000
        )
        await store.open()
        handed = 0
        verdicts: Counter[Status] = Counter()
        waiting: list[Awaitable[None]] = []

        def balance() -> None:
            known = store.counts["kept"] + sum(not_kept(store).values())
            assert handed == known + store.waiting
            assert store.waiting_bytes >= 0

        for action, argument in calls:
            if action == "keep":
                handed += len(argument)
                store.keep(
                    [letter(bytes(n)) for n in argument],
                    Acks.same(Ack(lambda s: verdicts.update([s])), len(argument)),
                )
            elif action == "commit":
                waiting.append(asyncio.ensure_future(store.commit([letter(bytes(n)) for n in argument])))
                await asyncio.sleep(0)
                handed += len(argument)
            elif action == "wait":
                clock.now_s += argument
            else:
                for _ in range(argument):
                    await asyncio.sleep(0)
            balance()
        await asyncio.gather(*waiting)
        balance()
        await store.close()
        balance()
        assert store.waiting == store.waiting_bytes == 0
        assert verdicts.total() == sum(action == "keep" for action, _ in calls)
        assert len(rows(store.path)) == store.counts["kept"] - store.counts["evicted"]
        assert store.path.stat().st_size <= MIB
        assert not_kept(store).keys() <= {"rate", "queue", "size"}

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder)))


@pytest.mark.parametrize("silence_s", [0.0, 0.5, 3600.0])
async def test_no_more_than_the_burst_is_kept_at_once_however_long_nothing_came(
    tmp_path: Path, silence_s: float
) -> None:
    clock = Clock()
    store = DeadLetters(tmp_path / "dead.db", bounds(rate=10, burst=5), Databases(), clock=clock)
    await store.open()
    clock.now_s += silence_s
    store.keep([letter(b"%d" % n) for n in range(9)])
    store.keep([letter(b"none left")] * 2)
    clock.now_s += 0.15
    store.keep([letter(b"one more"), letter(b"one too many")])
    await store.close()
    assert rows(store.path, "payload") == [(b"%d" % n,) for n in range(5)] + [(b"one more",)]
    assert not_kept(store) == {"rate": 4 + 2 + 1}


async def test_a_burst_is_as_large_as_it_says_whatever_the_rate(tmp_path: Path) -> None:
    store = DeadLetters(tmp_path / "dead.db", bounds(rate=1, burst=70), Databases(), clock=Clock())
    await store.open()
    store.keep([letter(b"%d" % n) for n in range(71)])
    await store.close()
    assert rows(store.path, "payload") == [(b"%d" % n,) for n in range(70)]
    assert not_kept(store) == {"rate": 1}


async def test_a_store_that_got_going_again_is_in_no_trouble_and_waits_no_longer_than_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DeadLetters(tmp_path / "dead.db", bounds(), Databases(), clock=Clock())
    await store.open()
    waits_s: list[float] = []
    real = store._backoff.next_s

    def next_s() -> float:
        waits_s.append(real())
        return 0.0

    monkeypatch.setattr(store._backoff, "next_s", next_s)
    write, faults = store._write, 5

    async def faulty(db: Any, some: Any) -> tuple[int, int]:
        nonlocal faults
        if faults:
            faults -= 1
            raise ValueError("a bug")
        return await write(db, some)

    monkeypatch.setattr(store, "_write", faulty)
    await store.commit([letter(b"first")])
    assert store.trouble is None
    assert store.waiting == 0
    faults = 1
    await store.commit([letter(b"second")])
    assert waits_s[4] > 4 * waits_s[0]
    assert waits_s[5] < 2 * waits_s[0]
    await store.close()
    assert rows(store.path, "payload") == [(b"first",), (b"second",)]


async def test_a_call_of_which_nothing_is_kept_is_answered_at_once(tmp_path: Path) -> None:
    store = DeadLetters(tmp_path / "dead.db", bounds(rate=1, burst=1), Databases(), clock=Clock())
    await store.open()
    told: list[Status] = []
    await store.commit([letter()])
    await asyncio.wait_for(store.commit([letter()] * 2), 60)
    store.keep([letter()], Acks.same(Ack(told.append), 1))
    store.keep([], Acks.same(Ack(told.append), 0))
    assert told == [Status.DROPPED, Status.REJECTED]
    assert store.waiting == 0
    await store.close()


@pytest.mark.usefixtures("a_lock_is_noticed_at_once")
async def test_a_store_that_cannot_be_used_is_closed_again(store: DeadLetters, tmp_path: Path) -> None:
    await store.open()
    await store.close()
    databases = Databases()
    with Lock(store.path), pytest.raises(EnvironmentFault, match=r"dead\.db"):
        await DeadLetters(tmp_path / "dead.db", bounds(), databases, clock=Clock()).open()
    assert list(databases.paths) == []


@pytest.mark.parametrize(
    ("max_size", "each_bytes", "committed"),
    [
        ("1MiB", 100_000, [2, 2, 4, 4, 6, 6]),
        ("64MiB", 1_500_000, [2, 2, 4, 4, 6, 6]),
        ("64MiB", 5_000_000, [1, 2, 3, 4, 5, 6]),
        ("64MiB", 10, [6, 6, 6, 6, 6, 6]),
    ],
    ids=["a quarter of the file", "4 MiB", "one that is larger", "all"],
)
async def test_one_commit_takes_what_waits_up_to_a_bound(
    tmp_path: Path, max_size: str, each_bytes: int, committed: list[int]
) -> None:
    store = DeadLetters(
        tmp_path / "dead.db", bounds(max_size), Databases(), clock=Clock(), max_waiting_bytes=64 * MIB
    )
    await store.open()
    there: list[int] = []
    for n in range(6):
        acks = Acks.same(Ack(lambda _: there.append(len(rows(store.path, "id")))), 1)
        store.keep([letter(bytes([n]) * each_bytes)], acks)
    await store.close()
    assert there == committed
    assert rows(store.path, "substr(payload, 1, 1)") == [(bytes([n]),) for n in range(6)]
    assert store.counts["kept"] == 6


@pytest.mark.usefixtures("no_database_stays_open")
async def test_a_file_that_others_have_filled_keeps_the_newest_letters_all_the_same(
    store: DeadLetters,
) -> None:
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute("CREATE TABLE other AS SELECT zeroblob(2 * 1024 * 1024) AS x")
        connection.commit()
    await asyncio.wait_for(store.open(), 60)
    for n in range(3):
        await asyncio.wait_for(store.commit([letter(b"%d" % n)]), 60)
    await store.close()
    assert rows(store.path, "payload") == [(b"2",)]
    assert (store.counts["kept"], store.counts["evicted"], store.waiting) == (3, 2, 0)
