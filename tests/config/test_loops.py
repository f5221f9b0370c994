import os
import socket
from pathlib import Path
from typing import Any

import pytest

from streamd import config, registry
from streamd.config.loops import reaches
from streamd.core.errors import ConfigError
from streamd.core.settings import Address, SinkOutput

LISTENER = '[sources.in]\ntype = "tcp"\nlisten = "{listen}"\n'
SENDER = '[sinks.out]\ntype = "tcp"\naddress = "{address}"\n'
FOLLOWED = '[sources.in]\ntype = "file"\npath = "{path}"\n'
WRITER = '[sinks.out]\ntype = "file"\npath = "{path}"\n'
ONE = '[pipelines.main]\nsources = ["in"]\nsinks = ["out"]\n'
STATE = '[daemon]\nstate_dir = "var"\n[ledger]\npath = "books.db"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    Path("var").mkdir()


def problems(text: str) -> str:
    Path("c.toml").write_text(STATE + text, encoding="utf-8")
    try:
        config.load(Path("c.toml"))
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:9999", "127.0.0.1:9999"),
        ("0.0.0.0:9999", "127.0.0.1:9999"),
        ("127.0.0.1:9999", "0.0.0.0:9999"),
        ("0.0.0.0:9999", "127.8.8.8:9999"),
        ("127.0.0.1:9999", "localhost:9999"),
        ("localhost:9999", "127.0.0.1:9999"),
        ("[::1]:9999", "LOCALHOST.:9999"),
        ("[::]:9999", "127.0.0.1:9999"),
        ("[::]:9999", "[::1]:9999"),
        ("[::1]:9999", "[::]:9999"),
        ("127.0.0.1:9999", "[::ffff:127.0.0.1]:9999"),
        ("0.0.0.0:9999", f"{socket.gethostname()}:9999"),
    ],
)
def test_a_tcp_sink_that_sends_to_its_own_source_is_refused(listen: str, address: str) -> None:
    found = problems(LISTENER.format(listen=listen) + ONE + SENDER.format(address=address))
    assert "sinks.out.address: sources.in reads the records that this sink writes" in found
    assert found.endswith("without end: sources.in > pipelines.main > sinks.out")
    assert found.startswith("c.toml:13: ")


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:9999", "127.0.0.1:9998"),
        ("127.0.0.1:9999", "127.0.0.2:9999"),
        ("127.0.0.1:9999", "[::1]:9999"),
        ("0.0.0.0:9999", "192.0.2.1:9999"),
        ("0.0.0.0:9999", "collector.example:9999"),
        ("127.0.0.1:0", "127.0.0.1:9999"),
    ],
)
def test_a_tcp_sink_that_sends_elsewhere_is_not(listen: str, address: str) -> None:
    assert not problems(LISTENER.format(listen=listen) + ONE + SENDER.format(address=address))


@pytest.mark.usefixtures("other_package")
@pytest.mark.parametrize(
    ("kind", "at", "source"),
    [
        ("unix", "in.sock", "door"),
        ("unix", "./x/../in.sock", "door"),
        ("unix", "other.sock", ""),
        ("udp", "127.0.0.1:9999", "datagrams"),
        ("udp", "127.0.0.1:9998", ""),
        ("tcp", "127.0.0.1:9998", "stream"),
        ("tcp", "127.0.0.1:9999", ""),
    ],
)
def test_a_sink_of_another_package_that_sends_to_its_own_source_is_refused(
    kind: Any, at: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = registry.load("sinks", "parts").Config
    output = property(lambda self: (SinkOutput(kind, self.target, key="target"),))
    monkeypatch.setattr(parts, "outputs", output)
    found = problems(
        '[sources.door]\ntype = "unix"\npath = "in.sock"\n'
        '[sources.datagrams]\ntype = "udp"\nlisten = "127.0.0.1:9999"\n'
        '[sources.stream]\ntype = "tcp"\nlisten = "127.0.0.1:9998"\n'
        '[pipelines.main]\nsources = ["door", "datagrams", "stream"]\nsinks = ["out"]\n'
        f'[sinks.out]\ntype = "parts"\ntarget = "{at}"\n'
    )
    if not source:
        assert found == ""
        return
    assert f"sinks.out.target: sources.{source} reads " in found


def test_an_address_of_this_host_reaches_a_listener_on_all() -> None:
    own = socket.gethostbyname("localhost")
    assert reaches(Address(own, 1), Address("0.0.0.0", 1))  # noqa: S104 - nothing is bound


@pytest.mark.parametrize(
    ("source", "sink"),
    [
        ("var/out.jsonl", "out.jsonl"),
        ("./x/../var/out.jsonl", "out.jsonl"),
        ("link.jsonl", "out.jsonl"),
        ("hard.jsonl", "out.jsonl"),
        ("folder/out.jsonl", "out.jsonl"),
        ("var/out.jsonl.000012", "out.jsonl"),
        ("var/out-2026-01-31.jsonl", "out-%Y-%m-%d.jsonl"),
        ("dated.jsonl", "out-%Y-%m-%d.jsonl"),
    ],
)
def test_a_source_that_follows_the_file_of_its_own_sink_is_refused(source: str, sink: str) -> None:
    Path("var/out.jsonl").touch()
    Path("link.jsonl").symlink_to("var/out.jsonl")
    os.link("var/out.jsonl", "hard.jsonl")
    Path("folder").symlink_to("var")
    Path("dated.jsonl").symlink_to("var/out-2026-01-31.jsonl")
    found = problems(FOLLOWED.format(path=source) + ONE + WRITER.format(path=sink))
    assert "sinks.out.path: sources.in reads the records that this sink writes" in found


@pytest.mark.parametrize("source", ["var/out.jsonl.bak", "out.jsonl", "var/out.json"])
def test_a_source_that_follows_another_file_is_not(source: str) -> None:
    assert not problems(FOLLOWED.format(path=source) + ONE + WRITER.format(path="out.jsonl"))


CHAIN = (
    '[sources.a]\ntype = "tcp"\nlisten = "127.0.0.1:9999"\n'
    '[sources.b]\ntype = "file"\npath = "var/out.jsonl"\n'
    '[pipelines.one]\nsources = ["a"]\nsinks = ["x"]\n'
    '[pipelines.two]\nsources = ["b"]\nsinks = ["y"]\n'
    '[sinks.x]\ntype = "file"\npath = "out.jsonl"\n'
    '[sinks.y]\ntype = "tcp"\naddress = "ADDRESS"\n'
)


def test_a_loop_over_two_pipelines_is_refused_once_with_its_way() -> None:
    found = problems(CHAIN.replace("ADDRESS", "localhost:9999"))
    assert len(found.splitlines()) == 1
    assert "sources.b > pipelines.two > sinks.y > sources.a > pipelines.one > sinks.x" in found


def test_a_chain_without_a_loop_is_allowed() -> None:
    assert not problems(CHAIN.replace("ADDRESS", "localhost:9998"))


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("var/data.db", "the database of sinks.out"),
        ("var/data.db-wal", "the database of sinks.out"),
        ("var/day-2026-01-31.db", "the database of sinks.days"),
        ("var/books.db", "the database of ledger"),
        ("var/dead-letters.db", "the database of dead_letters"),
        ("var/in.sock", "the socket of sources.local"),
        ("var/control.sock", "the socket of control"),
        ("var/positions/in.json", "positions of followed files"),
    ],
)
def test_a_source_that_follows_a_file_of_the_daemon_is_refused(path: str, owner: str) -> None:
    found = problems(
        FOLLOWED.format(path=path)
        + '[sources.local]\ntype = "unix"\npath = "in.sock"\n'
        + '[pipelines.main]\nsources = ["in", "local"]\nsinks = ["out", "days"]\n'
        + '[sinks.out]\ntype = "sqlite"\npath = "data.db"\n'
        + '[sinks.days]\ntype = "sqlite"\npath = "day-%Y-%m-%d.db"\n'
    )
    assert "sources.in.path: " in found
    assert owner in found
