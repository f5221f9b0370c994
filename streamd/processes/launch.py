"""Starts a process, and waits for its end, without stopping the event loop."""

import asyncio
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress


async def launched(
    command: Sequence[str], environ: Mapping[str, str], its: socket.socket, shared: Sequence[int]
) -> "subprocess.Popen[bytes]":
    """Start the command with these file descriptors and its end of a socket pair, which is closed here.

    A thread does it: the kernel returns only when the new program is loaded, which takes some milliseconds,
    and longer on a busy machine. Raises OSError.
    """

    def launch() -> "subprocess.Popen[bytes]":
        with its:
            return subprocess.Popen(  # noqa: S603 - this Python, with this configuration
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=(its.fileno(), *shared),
                env=environ,
                start_new_session=True,  # a terminal's Ctrl-C is for the leading process alone
            )

    return await asyncio.to_thread(launch)


async def ended(process: "subprocess.Popen[bytes]") -> int:
    """Wait for the end of the process. Returns its exit code, or -signal.

    Each process has a thread of its own for this, because it lives as long as the daemon.
    """
    loop = asyncio.get_running_loop()
    code: asyncio.Future[int] = loop.create_future()

    def tell(found: int) -> None:
        if not code.done():
            code.set_result(found)

    def wait() -> None:
        found = process.wait()
        with suppress(RuntimeError):  # the loop may be closed by then
            loop.call_soon_threadsafe(tell, found)

    threading.Thread(target=wait, name=f"end of {process.pid}", daemon=True).start()
    return await code
