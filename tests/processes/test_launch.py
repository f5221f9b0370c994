"""Processes start and end without stopping the event loop."""

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from streamd.processes.launch import ended, launched


async def _started(program: str) -> tuple["subprocess.Popen[bytes]", socket.socket]:
    ours, its = socket.socketpair()
    process = await launched([sys.executable, "-c", program], {"FD": str(its.fileno())}, its, ())
    assert its.fileno() == -1
    return process, ours


def test_a_process_has_the_socket_and_its_exit_code_is_known() -> None:
    async def run() -> tuple[int, bytes]:
        process, ours = await _started(
            "import os; os.write(int(os.environ['FD']), b'here'); raise SystemExit(7)"
        )
        with ours:
            code = await ended(process)
            return code, ours.recv(10)

    assert asyncio.run(run()) == (7, b"here")


def test_the_end_by_a_signal_is_its_number() -> None:
    async def run() -> int:
        process, ours = await _started("import signal; signal.pause()")
        with ours:
            process.send_signal(signal.SIGKILL)
            return await ended(process)

    assert asyncio.run(run()) == -signal.SIGKILL


def test_the_loop_goes_on_while_the_kernel_starts_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()
    start = subprocess.Popen

    def slow(*args: Any, **options: Any) -> Any:
        assert goes_on.wait(60), "the event loop stood still"
        return start(*args, **options)

    monkeypatch.setattr(subprocess, "Popen", slow)

    async def run() -> int:
        asyncio.get_running_loop().call_soon(goes_on.set)
        process, ours = await _started("pass")
        with ours:
            return await ended(process)

    assert asyncio.run(run()) == 0


def test_a_program_that_is_missing_is_an_error_and_the_socket_is_closed() -> None:
    async def run() -> None:
        ours, its = socket.socketpair()
        with ours:
            with pytest.raises(FileNotFoundError):
                await launched(["/nowhere/x"], {}, its, ())
            assert its.fileno() == -1

    asyncio.run(run())
