import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.logs.journal import FIELDS, Journal, datagram, is_journal, prefixed
from streamd.logs.line import render_json, safe
from streamd.logs.stderr import Stderr


def parsed(data: bytes) -> list[tuple[str, str]]:
    """As journald reads a datagram: a name, a line end, eight bytes of length, so many bytes, a line end."""
    found = []
    while data:
        name, _, rest = data.partition(b"\n")
        size = int.from_bytes(rest[:8], "little")
        assert rest[8 + size : 9 + size] == b"\n"
        found.append((name.decode("ascii"), rest[8 : 8 + size].decode()))
        data = rest[9 + size :]
    return found


class Journald:
    """A socket that stands for journald's, and the stream that a unit has as stderr."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "socket")
        self.listen()
        self.journals: list[Journal] = []
        self.stream, self.stderr = socket.socketpair()
        self.stream.setblocking(False)

    def listen(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)

    def end(self) -> None:
        self.socket.close()
        Path(self.path).unlink()

    def entries(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        while True:
            try:
                found.append(dict(parsed(self.socket.recv(1 << 20))))
            except BlockingIOError:
                return found

    def lines(self) -> list[str]:
        try:
            return self.stream.recv(1 << 22).decode().splitlines()
        except BlockingIOError:
            return []

    def journal(self) -> Journal:
        stderr = Stderr(self.stderr.fileno(), lambda lost: f"<4>lost {lost}")
        self.journals.append(Journal(stderr, lambda lost: f"lost {lost}", self.path))
        return self.journals[-1]


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    found = Journald(tmp_path)
    yield found
    for each in (found.socket, found.stream, found.stderr):
        each.close()
    for journal in found.journals:
        journal.close()


def test_only_the_stream_that_systemd_named_is_the_journal(
    journald: Journald, monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = journald.stderr.fileno()
    there = os.fstat(fd)
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    assert not is_journal(fd)
    monkeypatch.setenv("JOURNAL_STREAM", f"{there.st_dev}:{there.st_ino}")
    assert is_journal(fd)
    assert not is_journal(
        journald.stream.fileno()
    )  # a child whose stderr was redirected inherits the variable
    monkeypatch.setenv("JOURNAL_STREAM", "nonsense")
    assert not is_journal(fd)
    assert not is_journal(10**6)


@pytest.mark.parametrize(
    ("level", "priority"),
    [("debug", "7"), ("info", "6"), ("warning", "4"), ("error", "3"), ("critical", "2")],
)
def test_an_entry_has_the_line_the_priority_and_the_fields(
    journald: Journald, level: str, priority: str
) -> None:
    getattr(journald.journal(), level)('{"event":"sink_retrying"}', event="sink_retrying", sink="readings")
    assert journald.entries() == [
        {
            "MESSAGE": '{"event":"sink_retrying"}',
            "PRIORITY": priority,
            "SYSLOG_IDENTIFIER": "streamd",
            "STREAMD_EVENT": "sink_retrying",
            "STREAMD_SINK": "readings",
        }
    ]
    assert journald.lines() == []


@given(st.lists(st.tuples(st.sampled_from(sorted(FIELDS.values())), st.text(st.characters()))))
def test_no_value_can_begin_a_field_or_end_its_own(fields: list[tuple[str, str]]) -> None:
    assert parsed(datagram(fields)) == [
        (name, value.encode("utf-8", "backslashreplace").decode()) for name, value in fields
    ]


def test_without_the_socket_lines_go_to_stderr_with_their_priority_and_back_when_it_is_there_again(
    journald: Journald,
) -> None:
    journal = journald.journal()
    journald.end()
    journal.error("one\n<0>two", event="e")
    assert journald.lines() == ["<3>one", "<3><0>two"]
    journald.listen()
    journal.info("three")
    assert [entry["MESSAGE"] for entry in journald.entries()] == ["three"]


def test_a_journald_that_hangs_is_never_waited_for_and_what_is_lost_is_told(journald: Journald) -> None:
    journal = journald.journal()
    journald.stderr.setblocking(True)  # a write that waited would hang this test
    count = 2000
    for n in range(count):
        journal.info(f"{n} {'x' * 1000}")
    seen = [line.removeprefix("<6>") for line in _drained(journald)]
    kept = [int(line.split()[0]) for line in seen]
    assert kept == sorted(set(kept))
    lost = count - len(kept)
    assert lost > 0
    journal.info("after")
    assert [entry["MESSAGE"] for entry in journald.entries()] == [f"lost {lost}", "after"]


def _drained(journald: Journald) -> list[str]:
    sent = [entry["MESSAGE"] for entry in journald.entries()]
    return sent + [line for line in journald.lines() if line.endswith("x" * 1000)]


def test_the_longest_line_there_can_be_is_one_datagram(journald: Journald) -> None:
    worst = "\U000e0001" * 100_000  # a format control: escaped, it takes ten characters
    error: Exception = ValueError("\n".join([worst] * 100))
    for _ in range(4):
        error = ExceptionGroup(worst, [error] * 4)
    fields: dict[str, Any] = {"event": worst, "exc_info": error} | {f"{n}": worst for n in range(100)}
    line = str(render_json(None, "error", safe(None, "error", fields)))
    assert len(line) > 50_000
    journald.journal().error(line, event=worst[:1000])
    (entry,) = journald.entries()
    assert entry["MESSAGE"] == line


def test_a_process_that_may_have_no_unix_sockets_writes_to_stderr(
    journald: Journald, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refuse)
    journald.journal().warning("line")
    assert journald.lines() == ["<4>line"]


def test_each_line_of_a_text_has_its_priority() -> None:
    assert prefixed("error", "a\nb") == "<3>a\n<3>b"
