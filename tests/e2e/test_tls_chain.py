"""A streamd that sends to another through TLS: the books of both, and what a receiver that refuses costs."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FIRST = """
[admin]
listen = "127.0.0.1:0"
[ledger]
interval = "0.5s"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["floor"]
sinks = ["next"]
[sinks.next]
type = "tcp"
address = "127.0.0.1:{port}"
confirm_every = "200ms"
batch = {{ max_records = 500, max_wait = "5ms" }}
tls = {{ ca = "../certificates/ca.pem", server_name = "localhost"{own} }}
"""
SECOND = """
[admin]
listen = "127.0.0.1:0"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
tls = {{ cert = "../certificates/server.pem", key = "../certificates/server.key"{mutual} }}
[pipelines.main]
sources = ["floor"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
"""
OWN = ', cert = "../certificates/sensor.pem", key = "../certificates/sensor.key"'
MUTUAL = ', client_ca = "../certificates/ca.pem"'


@pytest.fixture
def authority(new_authority: Any, tmp_path: Path) -> Any:
    (tmp_path / "certificates").mkdir()
    made = new_authority(tmp_path / "certificates")
    made.issue("server")
    made.issue("sensor")
    return made


def lines(count: int, start: int = 0) -> bytes:
    return b"".join(b'{"seq":%d,"fill":"%s"}\n' % (n, b"x" * 50) for n in range(start, start + count))


def seqs(daemon: Any) -> list[int]:
    return [seq for (seq,) in daemon.query("SELECT record ->> 'seq' FROM records ORDER BY 1")]


def unconfirmed(daemon: Any) -> int:
    rows = daemon.query("SELECT sum(n) FROM ledger WHERE counter = 'unconfirmed' AND source = ''")
    return rows[0][0] or 0


def reload(daemon: Any, wait_until: Callable[..., Any]) -> None:
    before = len(daemon.events("reloaded"))
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(daemon.events("reloaded")) > before, "reloaded")


@pytest.mark.usefixtures("authority")
@pytest.mark.parametrize(("own", "mutual"), [("", ""), (OWN, MUTUAL)], ids=["server only", "mutual"])
def test_the_books_of_both_ends_balance_and_all_is_confirmed(own: str, mutual: str, start_in: Any) -> None:
    second = start_in("second", SECOND.format(mutual=mutual))
    first = start_in("first", FIRST.format(port=second.address("floor")[1], own=own))
    first.tcp(lines(20_000))
    second.wait_rows(1)
    first.tcp(lines(20_000, start=20_000))
    first.stop()
    second.wait_rows(40_000)
    second.stop()
    assert seqs(second) == list(range(40_000))
    assert unconfirmed(first) == 0
    assert first.books()["floor", "main", "next", "stored"] == 40_000
    assert second.books()["floor", "", "", "received"] == 40_000
    assert second.reasons("tls_failed") == {}
    assert first.events("sink_retrying") == []


def test_a_receiver_that_does_not_allow_the_name_is_tried_again_and_costs_nothing(
    authority: Any, start_in: Any, wait_until: Callable[..., Any]
) -> None:
    mutual = MUTUAL + ', allow_names = ["another"]'
    second = start_in("second", SECOND.format(mutual=mutual))
    first = start_in("first", FIRST.format(port=second.address("floor")[1], own=OWN))
    first.tcp(lines(1000))
    wait_until(lambda: len(first.events("sink_retrying")) >= 2, "two refusals")
    assert {event["reason"] for event in first.events("sink_retrying")} == {"tls_failed"}
    authority.issue("another")
    for end in ("pem", "key"):
        (authority.folder / f"another.{end}").replace(authority.folder / f"sensor.{end}")
    reload(first, wait_until)
    second.wait_rows(1000)
    first.stop()
    second.stop()
    assert seqs(second) == list(range(1000))
    assert unconfirmed(first) == 0
    assert "Traceback" not in first.stderr
    assert set(second.reasons("tls_failed")) == {"name_not_allowed"}


def test_a_certificate_that_is_replaced_is_shown_by_the_connections_after_a_reload(
    authority: Any, start_in: Any, wait_until: Callable[..., Any]
) -> None:
    second = start_in("second", SECOND.format(mutual=MUTUAL))
    first = start_in("first", FIRST.format(port=second.address("floor")[1], own=OWN))
    first.tcp(lines(10))
    second.wait_rows(10)
    authority.issue("renewed", "DNS:renewed")
    for end in ("pem", "key"):
        (authority.folder / f"renewed.{end}").replace(authority.folder / f"sensor.{end}")
    reload(first, wait_until)
    sent = 10

    def renewed_is_shown() -> bool:
        nonlocal sent
        first.tcp(lines(1, start=sent))
        sent += 1
        second.wait_rows(sent)
        return bool(second.query("SELECT 1 FROM records WHERE peer LIKE '% renewed'"))

    wait_until(renewed_is_shown, "a record of who is called renewed")
    first.stop()
    second.stop()
    assert seqs(second) == list(range(sent))
    assert unconfirmed(first) == 0


def test_a_certificate_that_is_missing_ends_the_start(authority: Any, start_in: Any) -> None:
    (authority.folder / "ca.pem").unlink()
    daemon = start_in("first", FIRST.format(port=1, own=""), ready=False)
    assert daemon.process.wait(60) == 1
    assert "ca.pem cannot be read" in daemon.stderr
    assert "Traceback" not in daemon.stderr
