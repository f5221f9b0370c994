"""A daemon that is asked to reload by its control socket, with a configuration in several files."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import preloaded

MAIN = """
[admin]
listen = "127.0.0.1:0"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
[pipelines.main]
sources = ["floor"]
sinks = ["records"]
"""
SINK = '[sinks.records]\ntype = "sqlite"\n'
LAB = """
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
[pipelines.lab]
sources = ["lab"]
sinks = ["records"]
"""


def streamd(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return preloaded.run(arguments, folder)


@pytest.fixture
def conf_d(tmp_path: Path) -> Path:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "sink.toml").write_text(SINK)
    return folder


def test_a_file_that_is_added_is_taken_by_a_reload_and_its_fault_is_told_where_it_stands(
    start: Any, conf_d: Path
) -> None:
    daemon = start(MAIN)
    folder = daemon.folder
    assert stat.S_IMODE((folder / "var" / "control.sock").stat().st_mode) == 0o600
    with socket.create_connection(daemon.address("floor"), timeout=30) as sock:
        sock.sendall(b'{"n":0}\n')
        (conf_d / "lab.toml").write_text(LAB)
        tried = streamd(folder, "reload", "--dry-run", "--config", "streamd.toml")
        assert (tried.returncode, tried.stderr) == (0, "")
        assert "  source lab: added\n" in tried.stdout
        assert not daemon.events("reloaded")

        done = streamd(folder, "reload", "--config", "streamd.toml")
        assert (done.returncode, done.stdout.splitlines()[0]) == (0, "reloaded"), done
        (event,) = daemon.events("reloaded")
        assert (event["sources_added"], event["asked_by"], event["uid"]) == ("lab", "control", os.getuid())
        assert event["pid"] != daemon.process.pid
        daemon.udp(b'{"n":1}')

        (conf_d / "more.toml").write_text("\n[sources.lab]\n[sinks.records]\n")
        refused = streamd(folder, "reload", "--socket", "var/control.sock")
        assert refused.returncode == 2
        path = daemon.config.parent / "conf.d"
        assert [line.split("; only")[0] for line in refused.stderr.splitlines()[1:]] == [
            f"{path}/more.toml:2: sources.lab: is also defined in {path}/lab.toml:2",
            f"{path}/sink.toml:1: sinks.records: is also defined in {path}/more.toml:3",
        ]
        (event,) = daemon.events("reload_failed")
        assert event["asked_by"] == "control"
        assert "last reload failed" in streamd(folder, "status", "--config", "streamd.toml").stdout

        (conf_d / "more.toml").unlink()
        assert streamd(folder, "reload", "--config", "streamd.toml").returncode == 0
        assert json.loads(daemon.control("GET", "/status")[1])["reload_failure"] is None
        sock.sendall(b'{"n":2}\n')
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    daemon.wait_rows(3)
    daemon.stop()
    assert not (folder / "var" / "control.sock").exists()
    assert daemon.books()["floor", "", "", "received"] == 2
    gone = streamd(folder, "reload", "--config", "streamd.toml")
    assert gone.returncode == 1
    assert "no daemon answers" in gone.stderr


def test_what_this_host_refuses_is_exit_1_and_the_daemon_goes_on(start: Any, conf_d: Path) -> None:
    daemon = start(MAIN)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = LAB.replace("udp", "tcp").replace("127.0.0.1:0", f"127.0.0.1:{port}")
        (conf_d / "lab.toml").write_text(text)
        refused = streamd(daemon.folder, "reload", "--config", "streamd.toml")
    assert refused.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in refused.stderr
    daemon.tcp(b'{"n":0}\n')
    daemon.wait_rows(1)
    daemon.stop()


@pytest.mark.parametrize("table", ['[control]\npath = "other.sock"', '[ledger]\npath = "other.db"'])
def test_what_only_a_restart_can_change_is_exit_2(start: Any, conf_d: Path, table: str) -> None:
    daemon = start(MAIN)
    (conf_d / "fixed.toml").write_text(table)
    refused = streamd(daemon.folder, "reload", "--socket", "var/control.sock")
    assert refused.returncode == 2
    assert (
        f"{table.splitlines()[0]} cannot be changed while streamd runs: restart it instead" in refused.stderr
    )
    daemon.tcp(b'{"n":0}\n')
    daemon.stop()


def test_dead_letters_can_be_read_and_counted(start: Any, conf_d: Path) -> None:
    (conf_d / "lab.toml").write_text(LAB + '[sources.lab.codec]\ntype = "json"\n')
    daemon = start(MAIN)
    daemon.udp(b"{nonsense")
    daemon.udp(b'{"n":1}')
    daemon.wait_rows(1)
    code, body = daemon.control("GET", "/dead-letters?source=lab")
    while code == 200 and json.loads(body)["letters"] == []:
        code, body = daemon.control("GET", "/dead-letters?source=lab")
    (letter,) = json.loads(body)["letters"]
    assert (letter["stage"], letter["payload"]) == ("decode", "{nonsense")
    assert json.loads(daemon.control("GET", f"/dead-letters/{letter['id']}")[1])["payload"] == "{nonsense"
    (count,) = json.loads(daemon.control("GET", "/dead-letters/count")[1])["counts"]
    assert count["count"] == 1
    daemon.stop()


def test_a_watched_daemon_shows_what_it_stores_and_its_drain(
    start: Any, conf_d: Path, wait_until: Callable[..., Any]
) -> None:
    def stored(line: str) -> int:
        (sink,) = json.loads(line)["sinks"]
        return sum(delivery["records"]["stored"] for delivery in sink["deliveries"])

    (conf_d / "lab.toml").write_text(LAB)
    daemon = start(MAIN)
    command = [sys.executable, "-m", "streamd", "status", "--watch", "--json", "--socket", "var/control.sock"]
    with subprocess.Popen(command, cwd=daemon.folder, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert stored(other.stdout.readline()) == 0
        daemon.udp(b'{"n":1}')
        daemon.wait_rows(1)
        wait_until(lambda: stored(other.stdout.readline()) == 1, "the row in the status that is watched")
        other.send_signal(signal.SIGINT)
        assert other.wait(30) == 130
    with subprocess.Popen(command, cwd=daemon.folder, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert json.loads(other.stdout.readline())["phase"] == "running"
        daemon.stop()
        assert other.wait(30) == 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not there")
def test_curl_watches_the_socket_and_the_admin_address(start: Any, conf_d: Path) -> None:
    def curl(*arguments: str) -> str:
        command = ["curl", "--silent", "--show-error", "--no-buffer", "--max-time", "2.5", *arguments]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=daemon.folder, timeout=60
        )
        assert done.returncode == 28, done  # it was curl that gave up
        return done.stdout

    (conf_d / "lab.toml").write_text(LAB)
    daemon = start(MAIN)
    daemon.udp(b'{"n":1}')
    daemon.wait_rows(1)
    events = curl("--unix-socket", "var/control.sock", "http://streamd/status?watch=1").split("\n\n")
    assert len(events) >= 3, events
    name, number, data = events[1].splitlines()
    assert (name, number[:4], data[:6]) == ("event: status", "id: ", "data: ")
    assert json.loads(data[6:])["balanced"] is True
    ready = 'data: {"ready": true, "reasons": []}'
    assert curl(f"{daemon.admin()}/readyz?watch=1").count(ready) >= 2
    done = subprocess.run(
        ["curl", "-s", f"{daemon.admin()}/status"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["balanced"] is True
    daemon.stop()


def test_many_that_ask_at_once_are_answered_one_after_the_other(
    start: Any, conf_d: Path, wait_until: Callable[..., Any]
) -> None:
    daemon = start(MAIN)
    (conf_d / "lab.toml").write_text(LAB)
    answers: list[int] = []

    def ask() -> None:
        answers.append(daemon.control("POST", "/reload")[0])

    asking = [threading.Thread(target=ask) for _ in range(8)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(60)
    assert answers == [200] * 8
    wait_until(lambda: len(daemon.events("reloaded")) == 8, "eight reloads")
    assert [event.get("sources_added") for event in daemon.events("reloaded")] == ["lab", *[None] * 7]
    daemon.tcp(b'{"n":0}\n')
    daemon.stop()


def test_a_socket_that_a_killed_daemon_left_is_replaced_and_a_living_one_is_refused(
    start: Any, conf_d: Path
) -> None:
    assert conf_d.exists()
    first = start(MAIN)
    second = start(MAIN, ready=False)
    assert second.process.wait(60) == 1
    assert "is another streamd running?" in second.stderr
    assert first.control("GET", "/status")[0] == 200
    first.process.kill()
    first.process.wait()
    third = start(MAIN)
    assert third.control("GET", "/status")[0] == 200
    assert len(third.query("SELECT * FROM ledger WHERE counter = 'unclean'")) == 1, "the second left no trace"
    third.tcp(b'{"n":0}\n')
    third.stop()
