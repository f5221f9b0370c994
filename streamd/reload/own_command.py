"""Runs a command of streamd in a process of its own, which has its own modules and its own clock."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from streamd.core.errors import EnvironmentFault

NOT_PASSED_ON = frozenset({
    "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES",
})  # fmt: skip
"""Variables by which systemd addresses the daemon alone."""
_START = """
import sys
sys.path[:] = {path!r}
from streamd.cli import main
sys.exit(main({arguments!r}))
"""


class Ended(NamedTuple):
    """A command that has ended by itself. `error` is what it wrote on standard error, for people."""

    code: int
    output: bytes
    error: str


async def run_command(
    arguments: Sequence[str],
    timeout_s: float,
    stopping: asyncio.Event | None = None,
    *,
    what: str,
    grace_s: float = 0.0,
) -> Ended:
    """Run `streamd ARGUMENTS` to its end.

    It is ended after `timeout_s`, when `stopping` is set, or when the caller is cancelled: with SIGTERM first
    if there is `grace_s`. Raises `EnvironmentFault`, with `what` (in the plural) in its text.
    """
    try:
        process = _started(arguments)
    except OSError as error:
        raise EnvironmentFault(f"{what} cannot be run: {error.strerror}") from error
    running = _communicating(process)
    stop = asyncio.ensure_future((stopping or asyncio.Event()).wait())
    try:
        either: set[asyncio.Future[Any]] = {running, stop}
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if not running.done() and grace_s:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait({running}, timeout=grace_s)
    finally:
        stop.cancel()
        if not running.done():
            process.send_signal(signal.SIGKILL)
    output, errors = await running
    if process.returncode is None or process.returncode < 0:
        if stopping is not None and stopping.is_set():
            raise EnvironmentFault("streamd is stopping")
        why = f"took longer than {timeout_s:g} s, or were ended by signal {-(process.returncode or 0)}"
        raise EnvironmentFault(f"{what} {why}")
    return Ended(
        process.returncode, output, errors.decode("utf-8", "replace").strip().removeprefix("streamd: ")
    )


def _started(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start the command. Not by the event loop, which would fork, and copy the tables of a large memory."""
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-c", _START.format(path=sys.path, arguments=list(arguments))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if key not in NOT_PASSED_ON},
    )


def _communicating(process: subprocess.Popen[bytes]) -> asyncio.Future[tuple[bytes, bytes]]:
    """What the process writes until its end, read by a thread."""
    loop = asyncio.get_running_loop()
    written: asyncio.Future[tuple[bytes, bytes]] = loop.create_future()

    def settle(found: tuple[bytes, bytes]) -> None:
        if not written.done():
            written.set_result(found)

    def read() -> None:
        found = process.communicate()
        with suppress(RuntimeError):  # the loop is closed: the daemon has stopped
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=read, name="own-command", daemon=True).start()
    return written
