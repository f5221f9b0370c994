"""A sink that stands still, locked out or hung in a commit: senders wait, and what is lost is counted."""

import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.senders import Sender

CONFIGURED_BYTES = 8 * 2**20
"""The buffers of `CONFIG` together."""
ALLOWANCE_BYTES = 100 * 2**20
HANG = "sqlite.commit@stuck.db:hang:"

CONFIG = """
[admin]
listen = "127.0.0.1:0"
[daemon]
drain_timeout = "60s"
[ledger]
interval = "0.2s"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
buffer = { max_records = 300, max_bytes = "1MiB" }
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
buffer = { max_records = 500, max_bytes = "1MiB" }
[sources.hall]
type = "tcp"
listen = "127.0.0.1:0"
buffer = { max_records = 500, max_bytes = "1MiB" }
[pipelines.main]
sources = ["lab", "floor"]
sinks = ["stuck"]
[pipelines.other]
sources = ["hall"]
sinks = ["free"]
[sinks.stuck]
type = "sqlite"
path = "stuck.db"
buffer = { max_records = 1000, max_bytes = "4MiB" }
[sinks.free]
type = "sqlite"
path = "free.db"
buffer = { max_records = 1000, max_bytes = "1MiB" }
"""
FANNED_OUT = """
[admin]
listen = "127.0.0.1:0"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
[pipelines.main]
sources = ["floor"]
sinks = ["stuck", "free"]
[sinks.stuck]
type = "sqlite"
path = "stuck.db"
buffer = { max_records = 1000, when_full = "drop_oldest" }
[sinks.free]
type = "sqlite"
path = "free.db"
"""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another connection has a write under way in the database."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()


def of_sender(daemon: Any, name: str, db: str = "stuck.db") -> list[int]:
    """The sequence numbers of one sender's rows in the order of storage."""
    rows = daemon.query(
        f"SELECT record ->> 'seq' FROM records WHERE record ->> 'sender' = '{name}' ORDER BY id",  # noqa: S608
        db,
    )
    return [seq for (seq,) in rows]


def lines(count: int) -> bytes:
    return b"".join(b'{"seq":%d}\n' % seq for seq in range(count))


def test_a_locked_database_pushes_senders_back_who_lose_nothing_and_nobody_else_notices(
    start: Any, wait_until: Callable[..., Any]
) -> None:
    daemon = start(CONFIG)
    with locked(daemon.folder / "var" / "stuck.db"):
        senders = [Sender(daemon.address("floor"), name, 8000) for name in ("a", "b")]
        for sender in senders:
            wait_until(sender.is_pushed_back, "push-back")
        wait_until(lambda: len(daemon.events("sink_retrying")) >= 3, "retries")
        daemon.tcp(lines(5000), source="hall")
        daemon.wait_rows(5000, db="free.db")
        assert all(sender.is_pushed_back() for sender in senders)
        assert daemon.query("SELECT count(*) FROM records", "stuck.db") == [(0,)]
    for sender in senders:
        sender.finish()
    daemon.wait_rows(16000, db="stuck.db")
    assert daemon.peak_bytes < CONFIGURED_BYTES + ALLOWANCE_BYTES
    daemon.stop()
    assert of_sender(daemon, "a") == list(range(8000))
    assert of_sender(daemon, "b") == list(range(8000))
    assert {event["reason"] for event in daemon.events("sink_retrying")} == {"locked"}
    assert daemon.events("sink_recovered")
    assert daemon.books()["floor", "main", "stuck", "stored"] == 16000
    assert "Traceback" not in daemon.stderr


@pytest.mark.parametrize("how", ["locked", "hung"])
def test_what_a_stuck_sink_makes_udp_drop_is_counted_to_the_datagram(
    how: str, start: Any, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    daemon = start(CONFIG, STREAMD_FAILPOINT=HANG + "5" if how == "hung" else "")
    if how == "locked":
        with locked(tmp_path / "var" / "stuck.db"):
            sent = flood_until_dropped(daemon, wait_until)
    else:
        sent = flood_until_dropped(daemon, wait_until)
    daemon.wait_rows(1, db="stuck.db")
    daemon.stop()
    books = daemon.books()
    dropped, kernel_dropped = (books["lab", "", "", name] for name in ("dropped", "kernel_dropped"))
    ((stored,),) = daemon.query("SELECT count(*) FROM records", "stuck.db")
    assert books["lab", "main", "stuck", "stored"] == stored
    assert stored + dropped + kernel_dropped == sent
    assert daemon.reasons("dropped", "lab") == {"buffer_full": dropped}
    assert of_sender(daemon, "newest") == [0]
    assert "Traceback" not in daemon.stderr


def flood_until_dropped(daemon: Any, wait_until: Callable[..., Any]) -> int:
    """Send datagrams until the ledger tells of drops, then one more; how many it were."""
    sent = 0
    while not daemon.books()["lab", "", "", "dropped"]:
        daemon.udp(*(b'{"sender":"flood","seq":%d,"fill":"%s"}' % (n, b"x" * 100) for n in range(1000)))
        sent += 1000
    arrived = [("lab", "", "", "received"), ("lab", "", "", "kernel_dropped")]
    wait_until(lambda: sum(daemon.books()[key] for key in arrived) == sent, "all datagrams in the ledger")
    daemon.udp(b'{"sender":"newest","seq":0}')
    return sent + 1


def test_another_sink_of_the_same_pipeline_goes_on_where_the_stuck_one_drops(
    start: Any, wait_until: Callable[..., Any]
) -> None:
    daemon = start(FANNED_OUT)
    with locked(daemon.folder / "var" / "stuck.db"):
        daemon.tcp(lines(20000))
        daemon.wait_rows(20000, db="free.db")
        wait_until(lambda: daemon.events("sink_retrying"), "a retry")
        assert daemon.query("SELECT count(*) FROM records", "stuck.db") == [(0,)]
    daemon.wait_rows(1000, db="stuck.db")
    daemon.stop()
    books = daemon.books()
    ((stored,),) = daemon.query("SELECT count(*) FROM records", "stuck.db")
    assert books["floor", "main", "stuck", "stored"] == stored
    assert books["floor", "main", "stuck", "dropped"] == 20000 - stored > 0
    assert books["floor", "main", "free", "stored"] == 20000
    newest = daemon.query("SELECT max(record ->> 'seq') FROM records", "stuck.db")
    assert newest == [(19999,)]


def test_a_hung_commit_pushes_senders_back_who_lose_nothing_and_nobody_else_notices(
    start: Any, wait_until: Callable[..., Any]
) -> None:
    daemon = start(CONFIG, STREAMD_FAILPOINT=HANG + "6")
    sender = Sender(daemon.address("floor"), "a", 8000)
    wait_until(sender.is_pushed_back, "push-back")
    daemon.tcp(lines(5000), source="hall")
    daemon.wait_rows(5000, db="free.db")
    sender.finish()
    daemon.wait_rows(8000, db="stuck.db")
    assert daemon.peak_bytes < CONFIGURED_BYTES + ALLOWANCE_BYTES
    daemon.stop()
    assert of_sender(daemon, "a") == list(range(8000))
    assert "Traceback" not in daemon.stderr


@pytest.mark.parametrize("sinks", ['["stuck"]', '["stuck", "free"]'])
def test_a_commit_that_hangs_at_the_end_is_left_behind_and_every_record_named(
    sinks: str, start: Any, wait_until: Callable[..., Any]
) -> None:
    config = CONFIG.replace('"60s"', '"1s"').replace('sinks = ["stuck"]', f"sinks = {sinks}")
    daemon = start(config, STREAMD_FAILPOINT=HANG + "600")
    sender = Sender(daemon.address("floor"), "a", 8000)
    wait_until(sender.is_pushed_back, "push-back")
    daemon.tcp(lines(5000), source="hall")
    daemon.wait_rows(5000, db="free.db")
    daemon.stop(expect=1)
    books = daemon.books()
    received = books["floor", "", "", "received"]
    (unknown,) = daemon.events("commit_outcome_unknown")
    assert unknown["sink"] == "stuck"
    assert 0 < unknown["records"] <= 1000
    assert received < 8000
    assert 0 < books["floor", "", "", "unread_bytes"] < sender.sent_bytes
    lost_as_frames = daemon.reasons("dropped", "floor")
    assert set(lost_as_frames) == {"shutdown"}
    frames = books["floor", "", "", "dropped"]
    records = books["floor", "main", "", "dropped"]
    deliveries = books["floor", "main", "stuck", "dropped"]
    assert frames + records + deliveries == received
    if "free" in sinks:
        free = books["floor", "main", "free", "stored"] + books["floor", "main", "free", "dropped"]
        assert frames + records + free == received
        deliveries += books["floor", "main", "free", "dropped"]
    (left,) = daemon.events("drain_timeout")
    assert (left["frames_left"], left["records_left"], left["deliveries_left"]) == (
        frames,
        records,
        deliveries,
    )
    assert books["hall", "other", "free", "stored"] == 5000
    assert daemon.query("SELECT count(*) FROM records", "stuck.db") == [(0,)]
    assert "Traceback" not in daemon.stderr


def test_a_lock_held_at_the_end_costs_what_is_named_and_no_outcome_is_unknown(
    start: Any, wait_until: Callable[..., Any]
) -> None:
    daemon = start(CONFIG.replace('"60s"', '"1s"'))
    with locked(daemon.folder / "var" / "stuck.db"):
        daemon.tcp(lines(400))
        wait_until(lambda: daemon.events("sink_retrying"), "a retry")
        daemon.stop(expect=1)
    assert daemon.query("SELECT count(*) FROM records", "stuck.db") == [(0,)]
    assert daemon.books()["floor", "main", "stuck", "dropped"] == 400
    assert daemon.reasons("dropped", "floor") == {"shutdown": 400}
    assert [event["deliveries_left"] for event in daemon.events("drain_timeout")] == [400]
    assert not daemon.events("commit_outcome_unknown")
    assert "Traceback" not in daemon.stderr


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_drain_that_a_hung_commit_holds_up(
    second: signal.Signals, start: Any, wait_until: Callable[..., Any]
) -> None:
    daemon = start(CONFIG.replace('"60s"', '"600s"'), STREAMD_FAILPOINT=HANG + "600")
    daemon.tcp(lines(400))
    wait_until(lambda: daemon.books()["floor", "main", "stuck", "offered"] == 400, "the records at the sink")
    daemon.process.send_signal(signal.SIGTERM)
    wait_until(lambda: daemon.events("stopping"), "the first signal")
    began_s = time.monotonic()
    daemon.process.send_signal(second)
    assert daemon.process.wait(60) == 1
    assert time.monotonic() - began_s < 30
    assert "second signal" in daemon.stderr
    assert "400 records pending" in daemon.stderr
    assert "Traceback" not in daemon.stderr
