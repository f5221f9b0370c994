"""Taps on a real daemon: they see what passes, and change nothing of it."""

import json
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
[admin]
listen = "127.0.0.1:0"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
receive_buffer = "4MiB"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
[sources.secret]
type = "tcp"
listen = "127.0.0.1:0"
redact.rules = [{ fields = ["card"], action = "mask" }]
redact.peer = "drop"
[pipelines.main]
sources = ["lab", "floor"]
sinks = ["records"]
[[pipelines.main.steps]]
type = "filter"
where = "n >= 0"
[[pipelines.main.steps]]
type = "set"
fields = { twice = "n * 2" }
[[pipelines.main.steps]]
type = "redact"
rules = [{ fields = ["card"], action = "mask" }]
[pipelines.other]
sources = ["secret"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
"""
CARD = "4111 1111 1111 1111"
POINTS = (
    "source:lab", "source:floor", "source:secret", "step:main.filter[0]", "step:main.set[1]",
    "step:main.redact[2]", "sink:records",
)  # fmt: skip


class Client:
    """A client of `/tap`. It reads only when it is asked to."""

    def __init__(self, folder: Path, target: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(folder / "var" / "control.sock"))
        self.sock.sendall(f"GET {target} HTTP/1.0\r\n\r\n".encode())
        self._text = self.sock.makefile("rb")
        assert b" 200 " in self._text.readline()
        while self._text.readline().strip():
            pass
        assert next(self)[0] == "open"

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return self

    def __next__(self) -> tuple[str, Any]:
        name = ""
        while line := self._text.readline():
            if line.startswith(b"event: "):
                name = line.removeprefix(b"event: ").strip().decode()
            elif line.startswith(b"data: "):
                return name, json.loads(line.removeprefix(b"data: "))
        raise StopIteration

    def records(self, count: int) -> list[Any]:
        """The next records; other events between them are left out."""
        found: list[Any] = []
        while len(found) < count:
            name, data = next(self)
            if name == "record":
                found.append(data["record"])
        return found

    def close(self) -> None:
        self._text.close()
        self.sock.close()


def tap(daemon: Any, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "streamd", "tap", *arguments, "--config", str(daemon.config)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def status(daemon: Any) -> Any:
    return json.loads(daemon.control("GET", "/status")[1])


def line(n: int, **more: Any) -> bytes:
    return json.dumps({"n": n, "card": CARD, **more}).encode() + b"\n"


@contextmanager
def floods(daemon: Any) -> Iterator[Callable[[], int]]:
    """Sends by UDP and by TCP without end; the function tells how many records were sent over TCP."""
    stop = threading.Event()
    sent = 0

    def by_tcp() -> None:
        nonlocal sent
        with socket.create_connection(daemon.address("floor"), timeout=60) as sock:
            while not stop.is_set():
                sock.sendall(b"".join(line(n) for n in range(sent, sent + 50)))
                sent += 50
                stop.wait(0.01)
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""

    def by_udp() -> None:
        n = 0
        while not stop.is_set():
            daemon.udp(*(line(n + i) for i in range(20)))
            n += 20
            stop.wait(0.01)

    threads = [threading.Thread(target=work) for work in (by_tcp, by_udp)]
    for thread in threads:
        thread.start()
    try:
        yield lambda: sent
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_the_books_balance_with_taps_opened_and_closed_in_the_middle(start: Any, wait_until: Any) -> None:
    daemon = start(CONFIG)
    stays = Client(daemon.folder, "/tap?point=sink:records&rate=5&fields=n,twice,card")
    events: list[tuple[str, Any]] = []
    reader = threading.Thread(target=lambda: events.extend(stays))
    reader.start()
    with floods(daemon) as sent:
        for point in POINTS:
            if point == "source:secret":
                continue
            client = Client(daemon.folder, f"/tap?point={point.replace('[', '%5B')}&once=3")
            found = list(client)
            client.close()
            assert [name for name, _ in found] == ["record"] * 3 + ["end"], (point, found)
            assert all(data["record"]["card"] == "***" for _, data in found[:3]), point
        cut = Client(daemon.folder, "/tap?point=step:main.set&rate=1000")
        assert cut.records(3)
        cut.close()
        asked = tap(
            daemon, "step:main.set", "--where", "n >= 50 and twice > 1", "--fields", "n,twice", "--once"
        )
        out, err = asked.communicate(timeout=60)
        assert (asked.returncode, err.startswith("streamd: 1 record shown, ")) == (0, True), (out, err)
        shown = json.loads(out)
        assert shown["twice"] == 2 * shown["n"] >= 100
        wait_until(lambda: sent() > 500, "records over TCP")
    wait_until(lambda: status(daemon)["taps"]["open"] == 1, "the end of the other taps")
    counts = status(daemon)["taps"]
    assert counts["opened"] == len(POINTS) - 1 + 3
    daemon.stop()
    reader.join(60)
    stays.close()
    assert events[-1][0] == "end"
    assert events[-1][1]["reason"] == "stopping"
    shown_records = [data["record"] for name, data in events if name == "record"]
    skipped = sum(data["records"] for name, data in events if name == "skipped")
    assert all(set(record) == {"n", "twice", "card"} for record in shown_records)
    stored = daemon.query("SELECT count(*) FROM records")[0][0]
    assert len(shown_records) + skipped == stored, "the tap at the sink knows of every record"
    floor = daemon.query("SELECT count(*) FROM records WHERE source = 'floor'")[0][0]
    assert floor == sent(), "TCP loses nothing"


def test_a_client_that_does_not_read_holds_nothing_and_is_cut_off(
    start: Any, pace: Callable[[float], None]
) -> None:
    daemon = start(CONFIG)
    stuck = Client(daemon.folder, "/tap?point=source:floor&rate=1000")
    text = "x" * 500
    count = 0
    with socket.create_connection(daemon.address("floor"), timeout=60) as sock:
        while status(daemon)["taps"]["open"]:
            sock.sendall(b"".join(line(n, text=text) for n in range(count, count + 200)))
            count += 200
            pace(0.02)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    daemon.wait_rows(count)
    after = status(daemon)
    stuck.close()
    assert after["control"]["refused"]["timeout"] == 1
    assert after["taps"]["skipped"]["slow"] > 0
    daemon.stop()
    assert daemon.query("SELECT count(*) FROM records")[0][0] == count


def test_a_tap_at_a_source_with_redact_shows_only_redacted_records(start: Any) -> None:
    daemon = start(CONFIG)
    client = Client(daemon.folder, "/tap?point=source:secret&once=2")
    daemon.tcp(line(1) + line(2), source="secret")
    records = client.records(2)
    client.close()
    assert [record["card"] for record in records] == ["***"] * 2
    assert [record["@peer"] for record in records] == [""] * 2
    daemon.wait_rows(2)
    daemon.stop()


def test_a_tap_goes_on_after_a_reload_and_ends_when_its_point_is_gone(start: Any, wait_until: Any) -> None:
    daemon = start(CONFIG)
    goes_on = Client(daemon.folder, "/tap?point=sink:records&rate=1000")
    step = Client(daemon.folder, "/tap?point=step:main.set&rate=1000")
    gone = tap(daemon, "step:main.redact", "--format", "json")
    wait_until(lambda: status(daemon)["taps"]["open"] == 3, "three taps")
    daemon.tcp(line(1))
    assert goes_on.records(1)[0]["n"] == 1
    assert step.records(1)[0]["twice"] == 2
    begin = CONFIG.index('[[pipelines.main.steps]]\ntype = "redact"')
    end = CONFIG.index("[pipelines.other]")
    daemon.config.write_text((CONFIG[:begin] + CONFIG[end:]).replace("n * 2", "n * 3"))
    assert daemon.control("POST", "/reload")[0] == 200
    daemon.tcp(line(5))
    out, err = gone.communicate(timeout=60)
    assert gone.returncode == 1
    assert [json.loads(row)["n"] for row in out.splitlines()] == [1]
    assert err.endswith("streamd: the tap has ended: a reload has removed this point\n"), err
    assert goes_on.records(1)[0]["n"] == 5
    assert step.records(1)[0]["twice"] == 15
    goes_on.close()
    step.close()
    daemon.wait_rows(2)
    daemon.stop()


def test_at_the_admin_address_a_tap_needs_the_token(start: Any) -> None:
    daemon = start(CONFIG)
    address = f"{daemon.admin()}/tap?point=source:floor&once=1"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(address, timeout=60)  # noqa: S310 - http
    token = (daemon.folder / "var" / "admin.token").read_text().strip()
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - http
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - http
        assert answer.readline() == b"event: open\n"
        daemon.tcp(line(1))
        body = answer.read().decode()
    assert '"card":"***"' in body
    assert CARD not in body
    assert body.count("event: record") == body.count("event: end") == 1
    daemon.wait_rows(1)
    daemon.stop()
