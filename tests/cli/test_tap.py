import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from streamd.admin.control import AskingProcess, ControlServer
from streamd.admin.view import View
from streamd.admin.watch import Watch
from streamd.cli import main
from streamd.core.books import Books
from streamd.core.clock import read_clock
from streamd.core.contracts import Processed
from streamd.runtime.taps import Point, Taps
from tests.backing import backing_in

Until = Callable[[Callable[[], bool]], Awaitable[None]]


class Part:
    """A part of a daemon with a hook."""

    def __init__(self) -> None:
        self.tap: Point | None = None

    def see(self, *records: Any) -> None:
        assert self.tap is not None
        self.tap.see_processed([Processed(list(records))])


class Served:
    """A control socket with two points."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lab, self.db = Part(), Part()
        self.taps = Taps(read_clock, seed=1)
        self.taps.attach([Point("source:lab", self.lab, {"main.redact[0]": dict}), Point("sink:db", self.db)])
        view = View(
            books=Books(), refresh=lambda: None, buffers=tuple, sinks=tuple, sources=tuple,
            dead_letters=Counter(), clock=read_clock, version="1.2.3", run_id="run-1",
            started_at_wall_s=read_clock().wall_s, config_path="a.toml", taps=self.taps,
        )  # fmt: skip
        self.server = ControlServer(
            view, Watch(view), path, group=None, reload=_reload, backing=backing_in(path.parent)
        )

    async def tap(self, *arguments: str) -> "asyncio.Task[int]":
        """The command, in a thread, once its tap looks."""
        running = asyncio.create_task(self.run(*arguments))
        while not running.done() and self.lab.tap is None:
            await asyncio.sleep(0.005)
        return running

    async def run(self, *arguments: str) -> int:
        return await asyncio.to_thread(main, ["tap", *arguments, "--socket", str(self.path)])


async def _reload(dry_run: bool, peer: AskingProcess) -> dict[str, Any]:
    raise AssertionError((dry_run, peer))


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    served = Served(tmp_path / "control.sock")
    await served.server.open()
    yield served
    await served.server.close()


async def test_without_a_point_all_points_are_listed(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    assert await served.run() == 0
    assert capfd.readouterr().out == "source:lab  (redacted as by main.redact[0])\nsink:db\n"


HOSTILE = {
    "text": "\x1b[2J\u202e\u2028\x85",
    "half": "\udc80",
    "bytes": b"\x00\xff",
    "huge": 10**400,
    "nan": float("nan"),
    "k\x1b": 1,
    "deep": {"a": [None, True]},
}


async def test_lines_are_json_in_which_nothing_reaches_the_terminal(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await served.tap("lab", "--once", "2", "--format", "json")
    served.lab.see(HOSTILE, {"n": 1}, {"n": 2})
    assert await running == 0
    shown = capfd.readouterr()
    first, second = shown.out.splitlines()
    assert first.isprintable()
    record = json.loads(first)
    assert record["text"] == HOSTILE["text"]
    assert record["bytes"] == {"@base64": "AP8="}
    assert record["nan"] == {"@float": "nan"}
    assert json.loads(second) == {"n": 1}
    assert shown.err == "streamd: 2 records shown, 0 skipped\n"


async def test_a_table_has_a_column_for_each_field_and_says_what_was_skipped(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await served.tap("source:lab", "--rate", "3", "--format", "table")
    served.lab.see({"s": "a\x1b[2J", "n": 1}, {"s": "b", "x": {"y": 1}}, {"@peer": "p"})
    served.lab.see(*({"n": n} for n in range(0)))
    while served.taps.counts.shown < 3:
        await asyncio.sleep(0.01)
    served.lab.see(*({"n": 7} for n in range(8)))
    while served.taps.counts.shown < 6:
        await asyncio.sleep(0.01)
    served.taps.end("removed")
    assert await running == 1
    shown = capfd.readouterr()
    assert shown.out == (
        's         n  x\n--------  -  --------\na\\x1b[2J  1\nb            {"y": 1}\n\n\n'
        "n\n-\n7\n7\n7\n… 5 skipped\n\n"
    )  # fmt: skip
    assert shown.err == (
        "streamd: 6 records shown, 5 skipped (5 more came than --rate shows)\n"
        "streamd: the tap has ended: a reload has removed this point\n"
    )


async def test_a_table_of_named_fields_has_exactly_these_columns(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await served.tap(
        "source:lab", "--once", "--fields", "@peer, x.y ,no", "--where", "n > 1", "--format", "table"
    )
    served.lab.see({"n": 1}, {"n": 2, "x": {"y": None}, "@peer": "127.0.0.1:5"})
    assert await running == 0
    assert capfd.readouterr().out == ("@peer        x.y   no\n-----------  ----  --\n127.0.0.1:5  null\n\n")


async def test_a_condition_that_fails_is_reported_once(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await served.tap("source:lab", "--once", "--where", "n > 1")
    served.lab.see({"n": "\x1btext"}, {"n": []}, {"n": 2})
    assert await running == 0
    err = capfd.readouterr().err.splitlines()
    assert err[0].startswith("streamd: --where failed on a record: expr:type")
    assert err[1:] == ["streamd: 1 record shown, 2 skipped (2 --where failed on them)"]


async def test_a_mistyped_field_of_a_condition_is_named_once(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await served.tap("source:lab", "--once", "--where", "vlaue == 2 or n == 2")
    served.lab.see({"value": 2, "n": 1})
    said = ""
    while "vlaue" not in said:
        await asyncio.sleep(0.01)
        said += capfd.readouterr().err
    served.lab.see({"n": 2})
    assert await running == 0
    said += capfd.readouterr().err
    first, last = said.splitlines()
    assert first.startswith("streamd: --where reads vlaue, which no record has had so far (1 record)")
    assert first.endswith(" (did you mean value?); the newest has value, n")
    assert last == "streamd: 1 record shown, 0 skipped"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "there is no point nowhere; there are source:lab, sink:db"),
        (["lab", "--where", "n >"], "where: "),
        (["lab", "--fields", ","], "fields: "),
        (["lab", "--rate", "1001"], "rate: must be a whole number from 1 to 1000"),
        (["lab", "--once", "1001"], "once: must be a whole number from 1 to 1000"),
    ],
)
async def test_wrong_usage_is_one_line_and_exit_code_2(
    served: Served, capfd: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert await served.run(*arguments) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("streamd: ")
    assert words in shown.err
    assert len(shown.err.splitlines()) == 1


async def test_the_end_of_the_daemon_is_an_error(served: Served, capfd: pytest.CaptureFixture[str]) -> None:
    running = await served.tap("lab")
    served.lab.see({"n": 1})
    while not capfd.readouterr().out:  # before its first record the command says that no daemon answers
        await asyncio.sleep(0.005)
    await served.server.close()
    assert await running == 1
    assert "sends no more events" in capfd.readouterr().err


async def test_ctrl_c_prints_how_many_were_shown_and_skipped(served: Served) -> None:
    command = [sys.executable, "-m", "streamd", "tap", "lab", "--rate", "1", "--socket", str(served.path)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)
    )
    while served.lab.tap is None:
        await asyncio.sleep(0.005)
    served.lab.see(*({"n": n} for n in range(5)))
    assert process.stdout is not None
    assert (await process.stdout.readline()).startswith(b'{"n": ')
    while served.taps.counts.skipped["rate"] < 4:
        await asyncio.sleep(0.005)
    served.lab.see({"n": 9})
    await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert err == b"streamd: 2 records shown, 4 skipped (4 more came than --rate shows)\n"


async def test_a_reader_that_closes_the_pipe_ends_the_command(served: Served) -> None:
    command = [sys.executable, "-m", "streamd", "tap", "lab", "--rate", "1000", "--socket", str(served.path)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)
    )
    while served.lab.tap is None:
        await asyncio.sleep(0.005)
    assert process.stdout is not None
    process.stdout._transport.close()  # type: ignore[attr-defined]
    while process.returncode is None:
        if served.lab.tap is not None:
            served.lab.see({"n": 1})
        await asyncio.sleep(0.02)
    _, err = await process.communicate()
    assert process.returncode == 1
    assert err == b""
