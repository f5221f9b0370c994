"""What a process has put is found by the next one, whenever the process was killed."""

import errno
import os
from collections import deque
from pathlib import Path

import pytest

from streamd.jetstream.messages import Message
from streamd.jetstream.outbox import Leftover, Outbox

TARGET = {"stream": "readings", "partitions": 2}


def message(payload: bytes, number: int = 1) -> Message:
    return Message("readings.1", payload, payload.count(b"\n"), {"Nats-Msg-Id": f"run-1-{number}"})


def full_disk(file: int, data: bytes) -> None:
    os.pwrite(file, data[:30], 0)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox" / "uplink"


def loaded(path: Path) -> Leftover:
    return Outbox(path, TARGET).load()


def test_without_a_file_nothing_is_kept(path: Path) -> None:
    assert loaded(path) == Leftover()
    assert not path.parent.exists()


def test_the_messages_of_the_last_put_are_kept_until_they_are_done(path: Path) -> None:
    outbox = Outbox(path, TARGET)
    one, other = message(b"1\n2\n"), message(b"3\n", 2)
    outbox.put({("log:newline", "main"): 7}, {1: deque([one, other]), 0: deque([message(b"4\n")])}, 99.5)
    kept = loaded(path)
    assert kept == Leftover(
        {("log:newline", "main"): 7}, {1: deque([one, other]), 0: deque([message(b"4\n")])}, 99.5
    )
    outbox.done()
    assert loaded(path) == Leftover({("log:newline", "main"): 7}, {}, 99.5)
    outbox.close()


def test_a_shorter_content_is_not_mixed_with_the_longer_one_that_was_there(path: Path) -> None:
    outbox = Outbox(path, TARGET)
    for turn in range(1, 5):
        outbox.put({("log", "main"): turn}, {0: deque([message(b"x" * (1000 // turn) + b"\n")])}, 0.0)
        assert loaded(path).waiting == {0: deque([message(b"x" * (1000 // turn) + b"\n")])}
        outbox.done()
    outbox.close()


def test_a_process_goes_on_where_the_one_before_stopped(path: Path) -> None:
    for last in range(1, 6):
        outbox = Outbox(path, TARGET)
        assert outbox.load().ends == ({("log", "main"): last - 1} if last > 1 else {})
        outbox.put({("log", "main"): last}, {}, 0.0)
        outbox.close()


def test_a_put_that_a_kill_cuts_off_anywhere_leaves_the_one_before(path: Path) -> None:
    outbox = Outbox(path, TARGET)
    outbox.put({("log", "main"): 1}, {0: deque([message(b"1\n")])}, 1.0)
    outbox.done()
    outbox.put({("log", "main"): 2}, {0: deque([message(b"2\n")])}, 2.0)
    outbox.done()
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    outbox.put({("log", "main"): 3}, {0: deque([message(b"3" * 50 + b"\n")])}, 3.0)
    outbox.close()
    (changed,) = [file for file in path.parent.iterdir() if file.read_bytes() != before[file]]
    whole, old = changed.read_bytes(), before[changed]
    for cut in range(len(whole)):
        changed.write_bytes(whole[:cut] + old[cut:])
        kept = loaded(path)
        assert kept.ends == {("log", "main"): 2}, cut
        assert not kept.waiting
    changed.write_bytes(whole)
    assert loaded(path).ends == {("log", "main"): 3}


def test_a_put_that_fails_does_not_harm_the_one_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(path, TARGET)
    outbox.put({("log", "main"): 1}, {}, 1.0)
    outbox.done()
    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr("streamd.jetstream.outbox._write", full_disk)
            with pytest.raises(OSError, match="No space"):
                outbox.put({("log", "main"): 2}, {}, 2.0)
        assert loaded(path).ends == {("log", "main"): 1}
    outbox.put({("log", "main"): 3}, {}, 2.0)
    assert loaded(path).ends == {("log", "main"): 3}
    outbox.close()


def test_what_was_kept_for_another_target_is_not_used(path: Path) -> None:
    outbox = Outbox(path, TARGET)
    outbox.put({("log", "main"): 1}, {0: deque([message(b"1\n")])}, 1.0)
    outbox.close()
    other = Outbox(path, TARGET | {"stream": "others"})
    assert other.load() == Leftover()
    other.put({("log", "main"): 5}, {}, 1.0)
    other.close()
    assert loaded(path) == Leftover()


def test_the_files_are_readable_by_the_owner_only(path: Path) -> None:
    outbox = Outbox(path, TARGET)
    outbox.put({}, {0: deque([message(b"1\n")])}, 1.0)
    outbox.close()
    assert [file.stat().st_mode & 0o077 for file in path.parent.iterdir()] == [0]
