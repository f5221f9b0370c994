"""Also about the other starts of processes: none of them may copy the daemon."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from streamd.reload.own_command import run_command
from streamd.runtime.offload_child import ChildProcess
from streamd.runtime.own_process import OwnProcess

_forks: list[int] = []
os.register_at_fork(before=lambda: _forks.append(1))


async def test_the_exit_code_can_be_awaited_more_than_once() -> None:
    process = OwnProcess([sys.executable, "-c", "raise SystemExit(7)"])
    assert [await process.wait(), await process.wait(), process.returncode] == [7, 7, 7]


async def test_a_process_that_is_killed_ends_with_the_signal() -> None:
    process = OwnProcess([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process.returncode is None
    os.kill(process.pid, signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    assert process._process.stdin is not None
    process._process.stdin.close()


async def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        OwnProcess(["/nowhere/python"])


async def _worker() -> None:
    child = await ChildProcess.start()
    await child.end()


async def _command() -> None:
    assert (await run_command(["--version"], 60, what="words")).output.startswith(b"streamd")


async def _of_the_loop() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await process.wait()


@pytest.mark.parametrize(("start", "copies"), [(_worker, 0), (_command, 0), (_of_the_loop, 1)])
def test_a_process_is_started_without_a_copy_of_the_daemon(
    start: Callable[[], Awaitable[None]], copies: int
) -> None:
    async def run() -> None:
        await start()

    _forks.clear()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    assert len(_forks) == copies
