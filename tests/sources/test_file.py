"""Also about `files/position.py`."""

import json
import os
import shutil
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.components import framers
from streamd.core.ack import Status
from streamd.core.contracts import SourceContext
from streamd.core.counters import Counters
from streamd.core.errors import EnvironmentFault
from streamd.core.frames import FlaggedFrame
from streamd.files.tail import Tail
from streamd.sources import file as file_module
from streamd.sources.file import File

Until = Callable[[Callable[[], bool]], Awaitable[None]]
NEGATIVE = '{"path": "x", "inode": 1, "offset": -1, "head": ""}'


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "POLL_S", 0.001)
    monkeypatch.setattr(file_module, "SAVE_S", 0.005)


def following(folder: Path, **options: Any) -> File:
    config = File.Config.model_validate({"type": "file", "path": "app.log", "rotate_wait": "10ms"} | options)
    return File(config, SourceContext("app", Counters(), framers(config.cut_by), folder, folder / "var"))


def append(folder: Path, data: bytes, name: str = "app.log") -> None:
    with (folder / name).open("ab") as file:
        file.write(data)


def settle(capture: Any, status: Status = Status.DELIVERED) -> None:
    for frames in capture.offered:
        frames.settle(status)


def remembered(folder: Path) -> int:
    path = folder / "var" / "positions" / "app.json"
    return int(json.loads(path.read_text())["offset"]) if path.exists() else -1


async def test_lines_are_followed_as_they_are_written(capture: Any, until: Until, tmp_path: Path) -> None:
    append(tmp_path, b"one\ntw")
    source = following(tmp_path)
    await source.open(capture)
    await until(lambda: capture.payloads == [b"one"])
    append(tmp_path, b"o\nthree\n")
    await until(lambda: capture.payloads == [b"one", b"two", b"three"])
    assert set(capture.peers) == {str(tmp_path / "app.log")}
    await source.stop()
    await source.stop()


async def test_it_waits_for_a_file_that_is_not_there_and_says_so_once(
    capture: Any, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stays: Any
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(
        "streamd.files.events.log.warning", lambda _, **fields: warnings.append(fields["error"])
    )
    source = following(tmp_path, start="end")
    await source.open(capture)
    await until(lambda: bool(warnings))
    await stays(lambda: warnings == ["No such file or directory"], 0.02)
    append(tmp_path, b"from the beginning, as it is new\n")
    await until(lambda: capture.payloads == [b"from the beginning, as it is new"])
    await source.stop()


async def test_a_folder_or_a_pipe_is_waited_out(
    capture: Any, until: Until, tmp_path: Path, stays: Any
) -> None:
    path = tmp_path / "app.log"
    os.mkfifo(path)
    source = following(tmp_path)
    await source.open(capture)
    await until(lambda: source._events._waiting_for == "it is no regular file")
    path.unlink()
    path.mkdir()
    await stays(lambda: capture.payloads == [], 0.01)
    path.rmdir()
    append(tmp_path, b"at last\n")
    await until(lambda: capture.payloads == [b"at last"])
    await source.stop()


async def test_start_end_passes_over_what_is_there_once(capture: Any, until: Until, tmp_path: Path) -> None:
    append(tmp_path, b"old\n")
    source = following(tmp_path, start="end")
    await source.open(capture)
    await until(lambda: remembered(tmp_path) == 4)
    await source.stop()
    append(tmp_path, b"while away\n")
    again = following(tmp_path, start="end")
    await again.open(capture)
    await until(lambda: capture.payloads == [b"while away"])
    await again.stop()


async def test_only_what_is_settled_is_remembered_in_order(
    capture: Any, until: Until, tmp_path: Path
) -> None:
    source = following(tmp_path)
    await source.open(capture)
    for n in range(3):
        append(tmp_path, b"%d\n" % n)
        await until(lambda wanted=n + 1: len(capture.offered) == wanted)  # type: ignore[misc]  # bound now
    first, second, third = capture.offered
    second.settle(Status.DELIVERED)
    await source._saver.save()
    assert remembered(tmp_path) == 0
    first.settle(Status.REJECTED)
    await until(lambda: remembered(tmp_path) == 4)
    await source.stop()
    third.settle(Status.DROPPED)
    await source.stop()
    assert remembered(tmp_path) == 4
    again = following(tmp_path)
    capture.offered.clear()
    await again.open(capture)
    await until(lambda: capture.payloads == [b"2"])
    await again.stop()


async def test_where_it_begins_is_remembered_before_anything_is_read(
    capture: Any, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "SAVE_S", 1e6)
    append(tmp_path, b"line\n")
    source = following(tmp_path)
    offered_at: list[int] = []
    offer = capture.offer

    def noting(frames: Any) -> Any:
        offered_at.append(remembered(tmp_path))
        return offer(frames)

    capture.offer = noting
    await source.open(capture)
    await until(lambda: capture.payloads == [b"line"])
    assert offered_at == [0]
    await source.stop()


async def test_a_loss_that_a_policy_counted_is_done_with(capture: Any, until: Until, tmp_path: Path) -> None:
    append(tmp_path, b"lost\n")
    source = following(tmp_path)
    await source.open(capture)
    await until(lambda: len(capture.offered) == 1)
    settle(capture, Status.DROPPED)
    await until(lambda: remembered(tmp_path) == 5)
    await source.stop()


async def test_a_line_without_its_end_is_not_delivered_at_the_stop_and_is_whole_later(
    capture: Any, until: Until, tmp_path: Path
) -> None:
    append(tmp_path, b"whole\nha")
    source = following(tmp_path)
    await source.open(capture)
    await until(lambda: capture.payloads == [b"whole"])
    await source.stop()
    settle(capture)
    await source.stop()
    assert capture.payloads == [b"whole"]
    assert remembered(tmp_path) == 6
    append(tmp_path, b"lf\n")
    again = following(tmp_path)
    await again.open(capture)
    await until(lambda: capture.payloads == [b"whole", b"half"])
    await again.stop()


async def test_a_renamed_file_is_read_to_its_end_before_the_new_one(
    capture: Any, until: Until, tmp_path: Path
) -> None:
    append(tmp_path, b"a\n")
    source = following(tmp_path, rotate_wait="100ms")
    await source.open(capture)
    await until(lambda: capture.payloads == [b"a"])
    (tmp_path / "app.log").rename(tmp_path / "app.log.1")
    append(tmp_path, b"new\n")
    append(tmp_path, b"late\nunfinished", "app.log.1")
    await until(lambda: len(capture.payloads) == 4)
    assert capture.payloads == [b"a", b"late", b"unfinished", b"new"]
    assert isinstance(capture.payloads[2], FlaggedFrame)
    assert source.context.counters["files_rotated", ""] == 1
    assert source.context.counters["unterminated", ""] == 1
    settle(capture)
    await until(lambda: remembered(tmp_path) == 4)
    await source.stop()


async def test_files_rotated_while_away_are_read_in_order(capture: Any, until: Until, tmp_path: Path) -> None:
    append(tmp_path, b"read\n")
    source = following(tmp_path)
    await source.open(capture)
    await until(lambda: capture.payloads == [b"read"])
    settle(capture)
    await source.stop()
    append(tmp_path, b"rest\n")
    (tmp_path / "app.log").rename(tmp_path / "app.log.2")
    append(tmp_path, b"between\n", "app.log.1")
    append(tmp_path, b"now\n")
    append(tmp_path, b"never a log\n", "app.log.lock")
    for age, name in enumerate(("app.log", "app.log.1", "app.log.2"), 1):
        os.utime(tmp_path / name, (10**9 - age, 10**9 - age))
    again = following(tmp_path)
    capture.offered.clear()
    await again.open(capture)
    await until(lambda: len(capture.payloads) == 3)
    assert capture.payloads == [b"rest", b"between", b"now"]
    assert again.context.counters["files_rotated", ""] == 2
    assert ("files_missed", "") not in again.context.counters
    await again.stop()


async def test_a_file_that_was_replaced_and_is_gone_is_told_and_counted(
    capture: Any, until: Until, tmp_path: Path
) -> None:
    append(tmp_path, b"read\n")
    source = following(tmp_path)
    await source.open(capture)
    await until(lambda: capture.payloads == [b"read"])
    settle(capture)
    await source.stop()
    append(tmp_path, b"another\n", "new")
    (tmp_path / "new").replace(tmp_path / "app.log")
    again = following(tmp_path, start="end")
    await again.open(capture)
    await until(lambda: capture.payloads == [b"read", b"another"])
    assert again.context.counters["files_missed", ""] == 1
    await again.stop()


async def test_what_was_rotated_since_is_read_though_the_remembered_file_is_compressed(
    capture: Any, until: Until, tmp_path: Path
) -> None:
    append(tmp_path, b"read\n")
    source = following(tmp_path)
    await source.open(capture)
    await until(lambda: capture.payloads == [b"read"])
    settle(capture)
    await source.stop()
    saved_at_ns = source._positions.saved_at_ns
    (tmp_path / "app.log").rename(tmp_path / "app.log.2.gz")
    append(tmp_path, b"between\n", "app.log.1")
    append(tmp_path, b"now\n")
    for name, later_s in (("app.log.1", 1), ("app.log", 2)):
        os.utime(tmp_path / name, ns=(saved_at_ns, saved_at_ns + later_s * 10**9))
    again = following(tmp_path)
    await again.open(capture)
    await until(lambda: capture.payloads == [b"read", b"between", b"now"])
    await again.stop()


async def test_what_was_compressed_before_it_was_read_is_counted_and_named(
    capture: Any, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[tuple[str, Any]] = []
    monkeypatch.setattr(
        "streamd.files.events.log.warning", lambda event, **fields: warned.append((event, fields))
    )
    append(tmp_path, b"read\n")
    source = following(tmp_path)
    await source.open(capture)
    await until(lambda: capture.payloads == [b"read"])
    settle(capture)
    await source.stop()
    saved_at_ns = source._positions.saved_at_ns
    (tmp_path / "away").mkdir()
    (tmp_path / "app.log").rename(tmp_path / "away" / "app.log")  # its inode is not given to another
    for number in (5, 4, 2, 0):
        append(tmp_path, b"compressed\n", f"app.log.{number}.gz")
    append(tmp_path, b"a copy\n", "app.log.1.gz")
    append(tmp_path, b"three\n", "app.log.3")
    append(tmp_path, b"one\n", "app.log.1")
    append(tmp_path, b"now\n")
    order = ("5.gz", "4.gz", "3", "2.gz", "1.gz", "1", "0.gz")
    for later_s, name in enumerate([*(f"app.log.{number}" for number in order), "app.log"]):
        os.utime(tmp_path / name, ns=(saved_at_ns, saved_at_ns + later_s * 10**9))
    again = following(tmp_path)
    capture.offered.clear()
    await again.open(capture)
    await until(lambda: capture.payloads == [b"three", b"one", b"now"])
    await again.stop()
    assert again.context.counters["files_missed", ""] == 1
    assert again.context.counters["files_skipped", ""] == 3
    skipped = [Path(fields["path"]).name for event, fields in warned if event == "file_skipped"]
    assert skipped == ["app.log.4.gz", "app.log.2.gz", "app.log.0.gz"]
    assert [fields["offset"] for event, fields in warned if event == "file_missed"] == [5]


async def test_a_disk_that_does_not_answer_holds_up_neither_the_loop_nor_the_stop(
    capture: Any, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asked, closed = threading.Event(), threading.Event(), threading.Event()
    read, close = Tail.read, Tail.close

    def stuck(tail: Tail) -> bytes | None:
        asked.set()
        assert answers.wait(30)
        return read(tail)

    def noted(tail: Tail) -> None:
        close(tail)
        closed.set()

    monkeypatch.setattr(Tail, "read", stuck)
    monkeypatch.setattr(Tail, "close", noted)
    append(tmp_path, b"line\n")
    source = following(tmp_path)
    await source.open(capture)
    await until(asked.is_set)
    await source.stop()
    assert capture.payloads == []
    assert not closed.is_set(), "the thread still reads it"
    answers.set()
    await until(closed.is_set)
    await source.stop()
    assert remembered(tmp_path) == 0


@pytest.mark.parametrize("refilled", [b"new\n", b"new and longer than before\n"])
async def test_a_file_copied_and_truncated_is_read_from_its_beginning(
    capture: Any, until: Until, tmp_path: Path, refilled: bytes
) -> None:
    append(tmp_path, b"old line\nhalf")
    source = following(tmp_path)
    await source.open(capture)
    await until(lambda: capture.payloads == [b"old line"] and source._frames._framer.waiting_bytes == 4)
    shutil.copy(tmp_path / "app.log", tmp_path / "app.log.1")
    (tmp_path / "app.log").write_bytes(refilled)
    await until(lambda: len(capture.payloads) == 3)
    assert capture.payloads == [b"old line", b"half", refilled[:-1]]
    assert source.context.counters["files_truncated", ""] == 1
    settle(capture)
    await until(lambda: remembered(tmp_path) == len(refilled))
    await source.stop()


async def test_a_full_buffer_stops_the_reading(
    capture: Any, until: Until, tmp_path: Path, stays: Any
) -> None:
    append(tmp_path, b"x" * 99 + b"\n")
    source = following(tmp_path)
    capture.accepting = False
    await source.open(capture)
    await until(lambda: len(capture.payloads) == 1)
    append(tmp_path, (b"y" * 99 + b"\n") * 10_000)
    await stays(lambda: len(capture.payloads) == 1, 0.02)
    capture.accepting = True
    capture.resume()
    await until(lambda: len(capture.payloads) == 10_001)
    assert max(map(len, capture.offered)) <= 656
    await source.stop()


async def test_the_reading_stops_at_every_full_buffer_and_goes_on_after_it(
    capture: Any, until: Until, tmp_path: Path, stays: Any
) -> None:
    """Each piece of 64 KiB is an offer of its own, and so is each line that comes later."""
    source = following(tmp_path, buffer={"when_full": "block"})
    await source.open(capture)
    written: list[bytes] = []

    def write(*lines: bytes) -> None:
        written.extend(lines)
        append(tmp_path, b"".join(line + b"\n" for line in lines))

    for cycle in range(4):
        capture.accepting = False
        write(b"full %d" % cycle)
        await until(lambda: capture.payloads == written)
        write(*[b"%d waits %d" % (n, cycle) + b"." * 100 for n in range(2000)])
        await stays(lambda: capture.payloads == written[:-2000], 0.02)
        capture.accepting = True
        capture.resume()
        await until(lambda: capture.payloads == written)
        for n in range(3):
            write(b"%d after %d" % (n, cycle))
            await until(lambda: capture.payloads == written)
    await source.stop()


async def test_an_overlong_line_is_cut_and_its_place_is_never_remembered_in_the_middle(
    capture: Any, until: Until, tmp_path: Path
) -> None:
    append(tmp_path, b"ok\n" + b"z" * 200_000)
    source = following(tmp_path, max_frame="1KiB")
    await source.open(capture)
    await until(lambda: source.context.counters["discarded_bytes", ""] > 190_000)
    settle(capture)
    await source.stop()
    assert capture.payloads == [b"ok", b"z" * 1024]
    assert remembered(tmp_path) <= 3
    append(tmp_path, b"\nnext\n")
    capture.offered.clear()
    again = following(tmp_path, max_frame="1KiB")
    await again.open(capture)
    await until(lambda: b"next" in capture.payloads)
    assert capture.payloads[-2:] == [b"z" * 1024, b"next"]
    await again.stop()


async def test_broken_framing_skips_what_the_file_holds_and_goes_on_behind_it(
    capture: Any, until: Until, tmp_path: Path
) -> None:
    append(tmp_path, b"3 one" + b"rubbish" * 20_000)
    source = following(tmp_path, framing="octet_counting")
    await source.open(capture)
    await until(lambda: capture.payloads == [b"one"])
    counters = source.context.counters
    assert counters["discarded_bytes", ""] == 140_000
    append(tmp_path, b"3 two")
    await until(lambda: capture.payloads == [b"one", b"two"])
    await source.stop()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"path": "x"}', "[" * 10**5, NEGATIVE],
)
async def test_a_position_that_cannot_be_read_is_a_fault_that_says_what_to_do(
    capture: Any, tmp_path: Path, text: str
) -> None:
    (tmp_path / "var" / "positions").mkdir(parents=True)
    (tmp_path / "var" / "positions" / "app.json").write_text(text)
    source = following(tmp_path)
    with pytest.raises(EnvironmentFault, match=r"remembered position .* remove it"):
        await source.open(capture)
    await source.stop()


async def test_a_position_that_cannot_be_saved_is_tried_again(
    capture: Any, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []
    warned: list[str] = []
    replace = Path.replace

    def full(path: Path, target: Path) -> Path:
        if len(refused) < 3:
            refused.append(path.name)
            raise OSError(28, "No space left on device")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", full)
    monkeypatch.setattr("streamd.files.events.log.warning", lambda event, **_: warned.append(event))
    append(tmp_path, b"one\n")
    source = following(tmp_path)
    await source.open(capture)
    await until(lambda: capture.payloads == [b"one"])
    settle(capture)
    await until(lambda: remembered(tmp_path) == 4)
    assert refused == ["app.new"] * 3
    assert warned == ["position_not_saved"] * 3
    await source.stop()


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    for options in ({"path": ""}, {"path": "a\0b"}, {"start": "middle"}, {"oversize": "close"}):
        with pytest.raises(ValidationError):
            following(tmp_path, **options)
