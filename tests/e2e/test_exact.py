"""Each record of a partitioned stream is stored once, whatever becomes of the workers that read it."""

import asyncio
import json
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.nats_server import NatsServer, api, make_stream, needs_server, publish
from tests.postgresql_server import PostgresqlServer, needs_postgresql, shared_server

pytestmark = [needs_server, pytest.mark.timeout(600)]

CONFIG = """
[daemon]
drain_timeout = "30s"
[admin]
listen = "127.0.0.1:0"
[ledger]
interval = "0.5s"
[schemas.reading]
sensor = "str"
seq = "int"
[sources.readings]
type = "nats"
servers = ["{server}"]
stream = "W"
consumer = "workers"
subject = "w.{{partition}}"
partitions = {partitions}
takeover = "{takeover}"
codec = "json"
schema = "reading"
[pipelines.main]
sources = ["readings"]
sinks = ["results"]
[sinks.results]
type = "sqlite"
path = "{path}"
table = "results"
schema = "reading"
batch = {{ max_wait = "20ms" }}
"""
WINDOWS = """
[schemas.window]
sensor = "str"
window_start = "timestamp"
window_end = "timestamp"
n = "int"
total = "int"
first = "int"
final = "bool"
complete = "bool"
"""
STEP = """
[[pipelines.main.steps]]
type = "window"
key = ["sensor"]
time = "at"
size = "10s"
watermark_delay = "2s"
watermark_by = "sender"
aggregate = { n = "count()", total = "sum(seq)", first = "min(seq)" }
"""
PARTITIONS = 4


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    made = NatsServer(tmp_path / "nats")
    make_stream(made, "W", ["w.*"])
    yield made
    made.stop()


class Sender:
    """Sends numbered readings of sensors, each sensor to one partition, ten in a message."""

    def __init__(self, server: NatsServer) -> None:
        self._server = server
        self.sent = 0

    def send(self, messages: int) -> None:
        for partition in range(PARTITIONS):
            payloads = []
            for message in range(messages):
                first = self.sent + (message * PARTITIONS + partition) * 10
                payloads.append(
                    b"".join(
                        json.dumps({"sensor": f"s-{partition}", "seq": seq}).encode() + b"\n"
                        for seq in range(first, first + 10)
                    )
                )
            publish(self._server, f"w.{partition}", payloads)
        self.sent += messages * PARTITIONS * 10


@pytest.fixture
def sender(server: NatsServer) -> Sender:
    return Sender(server)


@pytest.fixture
def worker(start_in: Any, server: NatsServer, tmp_path: Path) -> Callable[..., Any]:
    """Starts a worker by its name; all have one table."""

    def start(
        name: str, *, windows: bool = False, sink: str = "", table: str = "results", more: str = ""
    ) -> Any:
        config = CONFIG.format(
            server=server.address, partitions=PARTITIONS, takeover="2s", path=tmp_path / "results.db"
        )
        if windows:
            config = config.replace('seq = "int"', 'seq = "int"\nat = "timestamp"')
            config = config.replace('sinks = ["results"]', 'sinks = ["results"]' + STEP)
            config = config.replace(
                'table = "results"\nschema = "reading"', 'table = "results"\nschema = "window"'
            )
            config += WINDOWS
        if sink:
            config = config.replace(f'type = "sqlite"\npath = "{tmp_path / "results.db"}"', sink)
            config = config.replace('table = "results"', f'table = "{table}"')
        return start_in(name, config + more)

    return start


def rows(worker: Any) -> list[tuple[int, str]]:
    path = "../../results.db"
    found: list[tuple[int, str]] = worker.query("SELECT seq, sensor FROM results ORDER BY rowid", path)
    return found


def assert_exact(worker: Any, sender: Sender) -> None:
    found = rows(worker)
    assert sorted(seq for seq, _ in found) == list(range(sender.sent))
    for sensor in range(PARTITIONS):
        seqs = [seq for seq, name in found if name == f"s-{sensor}"]
        assert seqs == sorted(seqs), "in order"


def owned(worker: Any) -> int:
    gained, lost, fenced = (len(worker.events(f"partition_{what}")) for what in ("gained", "lost", "fenced"))
    return gained - lost - fenced


def stops_between_writes(worker: Any, database: Path) -> bool:
    """Stop the process; let it go on if it has a lock of the database, so that others can write."""
    worker.process.send_signal(signal.SIGSTOP)
    tasks = list(Path(f"/proc/{worker.process.pid}/task").glob("*/stat"))
    while not all(task.read_text().rpartition(") ")[2].startswith("T") for task in tasks):
        time.sleep(0.001)
    files = [Path(f"{database}{suffix}") for suffix in ("", "-shm", "-lock")]
    inodes = tuple(f":{file.stat().st_ino} " for file in files if file.exists())
    locks = Path("/proc/locks").read_text().splitlines()
    if any(" WRITE " in lock and any(inode in lock for inode in inodes) for lock in locks):
        worker.process.send_signal(signal.SIGCONT)
        return False
    return True


def test_one_worker_stores_everything_once(
    worker: Callable[..., Any], sender: Sender, wait_until: Callable[..., Any]
) -> None:
    sender.send(20)
    one = worker("one")
    sender.send(5)
    wait_until(lambda: len(rows(one)) == sender.sent, "all rows", 120)
    one.stop()
    assert_exact(one, sender)
    assert one.books()["readings", "main", "results", "stored"] == sender.sent
    sender.send(5)
    again = worker("one")
    wait_until(lambda: len(rows(again)) == sender.sent, "all rows", 120)
    again.stop()
    assert_exact(again, sender)
    assert again.books()["readings", "main", "results", "stored"] == 200


def test_partitions_of_a_killed_worker_go_on_elsewhere_and_nothing_is_stored_twice(
    worker: Callable[..., Any], sender: Sender, wait_until: Callable[..., Any]
) -> None:
    one = worker("one")
    sender.send(10)
    wait_until(lambda: len(rows(one)) > 100, "rows", 120)
    two = worker("two")
    sender.send(200)
    one.process.send_signal(signal.SIGKILL)
    one.process.wait(30)
    sender.send(10)
    wait_until(lambda: len(rows(two)) == sender.sent, "all rows", 120)
    two.stop()
    assert_exact(two, sender)


class TimedSender:
    """Sends readings of twenty sensors, a second apart, not quite in order, and knows their windows."""

    def __init__(self, server: NatsServer) -> None:
        self._server = server
        self._random = Random(7)  # noqa: S311 - no secret
        self.readings: list[tuple[str, int, int]] = []
        self.sent = 0

    def send(self, seconds: int) -> None:
        for partition in range(PARTITIONS):
            payloads = []
            for second in range(self.sent, self.sent + seconds):
                lines = []
                for number in range(5):
                    at = max(0, second - (self._random.randint(0, 2) if number else 0))
                    reading = f"s-{partition}-{number}", len(self.readings), at
                    self.readings.append(reading)
                    lines.append(json.dumps(dict(zip(("sensor", "seq", "at"), reading, strict=True))))
                payloads.append("\n".join(lines).encode())
            publish(self._server, f"w.{partition}", payloads)
        self.sent += seconds

    def windows(self) -> list[tuple[Any, ...]]:
        """The results of all windows that have ended, as one process would make them."""
        found: dict[tuple[str, int], list[int]] = {}
        for sensor, seq, at in self.readings:
            found.setdefault((sensor, at // 10), []).append(seq)
        last = (self.sent - 1 - 2) // 10
        return sorted(
            (sensor, window * 10, len(seqs), sum(seqs), min(seqs))
            for (sensor, window), seqs in found.items()
            if window < last
        )


def windows_of(worker: Any) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = worker.query(
        "SELECT sensor, unixepoch(window_start), n, total, first FROM results WHERE complete AND final"
        " ORDER BY 1, 2, rowid",
        "../../results.db",
    )
    return found


def test_windows_are_those_of_one_undisturbed_process_whatever_happens_to_the_workers(
    worker: Callable[..., Any], server: NatsServer, wait_until: Callable[..., Any]
) -> None:
    sender = TimedSender(server)
    one = worker("one", windows=True)
    sender.send(60)
    wait_until(lambda: len(windows_of(one)) > 20, "windows", 120)
    two = worker("two", windows=True)

    def shared() -> bool:
        sender.send(1)
        return owned(one) == owned(two) == PARTITIONS // 2

    wait_until(shared, "two partitions each", 120)
    sender.send(40)
    one.process.send_signal(signal.SIGKILL)
    one.process.wait(30)
    sender.send(40)
    wait_until(lambda: len(windows_of(two)) >= len(sender.windows()), "all windows", 120)
    two.stop()
    again = worker("two", windows=True)
    sender.send(33)
    wait_until(lambda: len(windows_of(again)) >= len(sender.windows()), "all windows", 120)
    again.stop()
    assert windows_of(again) == sender.windows()


ROWS = """
[pipelines.rows]
sources = ["readings"]
sinks = ["rows"]
[sinks.rows]
type = "sqlite"
path = "{path}"
table = "rows"
schema = "reading"
batch = {{ max_wait = "20ms" }}
"""


def test_what_comes_anew_counts_once_where_a_pipeline_of_rows_shares_the_source_with_windows(
    worker: Callable[..., Any], server: NatsServer, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    """The server delivers everything anew to another consumer; both pipelines have stored all of it."""
    sender = TimedSender(server)
    more = ROWS.format(path=tmp_path / "results.db")

    def stored(one: Any) -> int:
        try:
            (row,) = one.query("SELECT count(*) FROM rows", "../../results.db")
        except sqlite3.OperationalError:
            return 0  # the table is not there yet
        return int(row[0])

    sender.send(25)
    one = worker("one", windows=True, more=more)
    wait_until(lambda: stored(one) == len(sender.readings), "all rows", 120)
    one.stop()
    for partition in range(PARTITIONS):
        assert asyncio.run(api(server, f"CONSUMER.DELETE.W.workers-{partition}"))["success"]
    again = worker("one", windows=True, more=more)
    sender.send(33)
    wait_until(lambda: stored(again) == len(sender.readings), "all rows", 120)
    wait_until(lambda: len(windows_of(again)) >= len(sender.windows()), "all windows", 120)
    again.stop()
    assert windows_of(again) == sender.windows()
    found = again.query("SELECT sensor, seq, unixepoch(at) FROM rows", "../../results.db")
    assert sorted(found) == sorted(sender.readings)


def test_a_worker_that_stood_still_stores_nothing_when_it_goes_on(
    worker: Callable[..., Any], sender: Sender, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    one = worker("one")
    sender.send(5)
    wait_until(lambda: owned(one) == PARTITIONS and len(rows(one)) == sender.sent, "rows", 120)
    sender.send(300)
    wait_until(lambda: stops_between_writes(one, tmp_path / "results.db"), "a moment without a write")
    two = worker("two")
    sender.send(5)
    wait_until(lambda: len(rows(two)) == sender.sent, "all rows", 120)
    one.process.send_signal(signal.SIGCONT)
    sender.send(5)
    wait_until(
        lambda: len(one.events("partition_lost")) + len(one.events("partition_fenced")) >= PARTITIONS,
        "the loss",
        120,
    )
    wait_until(lambda: len(rows(two)) == sender.sent, "all rows", 120)
    for each in (one, two):
        each.stop()
    assert_exact(two, sender)


def test_workers_that_join_get_their_share_and_one_that_leaves_gives_it_back(
    worker: Callable[..., Any], sender: Sender, wait_until: Callable[..., Any]
) -> None:
    one = worker("one")
    sender.send(5)
    wait_until(lambda: owned(one) == PARTITIONS, "all partitions", 120)
    two = worker("two")

    def shared() -> bool:
        sender.send(1)
        return owned(one) == owned(two) == PARTITIONS // 2

    wait_until(shared, "two partitions each", 120)
    one.stop()

    def taken() -> bool:
        sender.send(1)
        return owned(two) == PARTITIONS

    wait_until(taken, "all partitions", 120)
    wait_until(lambda: len(rows(two)) == sender.sent, "all rows", 120)
    two.stop()
    assert_exact(two, sender)


@needs_postgresql
def test_windows_in_postgresql_are_exact_when_a_worker_stands_still_and_another_is_killed(
    worker: Callable[..., Any], server: NatsServer, wait_until: Callable[..., Any]
) -> None:
    database: PostgresqlServer = shared_server()
    table = database.new_name()
    sink = f'type = "postgresql"\naddress = "{database.socket}"\ndatabase = "postgres"\nuser = "postgres"'

    def start(name: str) -> Any:
        return worker(name, windows=True, sink=sink, table=table)

    def found() -> list[Any]:
        try:
            return database.query(
                "SELECT sensor, extract(epoch FROM window_start)::bigint, n, total, first"  # noqa: S608 - its own
                f" FROM {table} WHERE complete AND final ORDER BY 1, 2"
            )
        except Exception:  # noqa: BLE001 - the table is not there yet
            return []

    sender = TimedSender(server)
    one = start("one")
    sender.send(60)
    wait_until(lambda: len(found()) > 20, "windows", 120)
    one.process.send_signal(signal.SIGSTOP)
    two = start("two")

    def taken() -> bool:
        sender.send(1)
        return owned(two) == PARTITIONS

    wait_until(taken, "all partitions", 120)
    one.process.send_signal(signal.SIGCONT)
    sender.send(30)
    wait_until(lambda: owned(one) < PARTITIONS, "the loss", 120)
    two.process.send_signal(signal.SIGKILL)
    two.process.wait(30)
    sender.send(33)
    wait_until(lambda: len(found()) >= len(sender.windows()), "all windows", 120)
    one.stop()
    assert found() == sender.windows()
