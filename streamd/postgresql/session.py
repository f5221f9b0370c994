"""The connection of one sink, and the thread that uses it."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg

from streamd.postgresql.server import Server

T = TypeVar("T")
Connection = psycopg.Connection[Any]

_GRACE_S = 5.0
"""The server itself ends a statement after `timeout`. If it has not answered this much later, the connection
is broken off."""
_CLOSE_S = 2.0


class ServerSession:
    """One connection that is made when it is needed. Its methods run on the loop, unless they say otherwise.

    `progress` changes with each statement that the server has finished.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.progress = 0
        self.patient = False
        """Whether a statement runs that may take as long as it needs."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="postgresql")
        self._job: asyncio.Future[Any] | None = None
        self._connection: Connection | None = None
        self._socket: socket.socket | None = None

    def step(self) -> None:
        """On the thread: the server has finished a statement."""
        self.progress += 1

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`, which runs on the thread. Breaks the connection off if it hangs."""
        job = asyncio.get_running_loop().run_in_executor(self._thread, work)
        # An error that nobody waits for any more is no news.
        job.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        self._job = job
        patience_s = self.server.timeout_s + self.server.connect_timeout_s + _GRACE_S
        while not job.done():
            before = self.progress
            await asyncio.wait((job,), timeout=patience_s)
            if not job.done() and self.progress == before and not self.patient:
                self.break_off()
        return await job

    def connection(self) -> tuple[Connection, bool]:
        """On the thread: the open connection, and whether it is new. Raises as `Server.connect`."""
        if self._connection is not None and not self._connection.closed:
            return self._connection, False
        self.drop()
        self._connection = self.server.connect()
        self._socket = socket.socket(fileno=os.dup(self._connection.fileno()))
        self.progress += 1
        return self._connection, True

    def drop(self) -> None:
        """On the thread: close the connection, if there is one."""
        connection, self._connection = self._connection, None
        end, self._socket = self._socket, None
        if end is not None:
            end.close()
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                connection.close()

    def roll_back(self) -> None:
        """On the thread: end the open transaction, if there is one. A broken connection is closed."""
        if self._connection is None:
            return
        try:
            self._connection.rollback()
        except psycopg.Error:
            self.drop()

    def break_off(self) -> None:
        """End the connection under a statement that hangs; the statement fails then."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it has ended by itself
                self._socket.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        """End what is under way, and close the connection."""
        job = self._job
        if job is not None and not job.done():
            self.break_off()
            await asyncio.wait((job,), timeout=_CLOSE_S)
        if job is None or job.done():
            with contextlib.suppress(RuntimeError):  # it was closed before
                await asyncio.get_running_loop().run_in_executor(self._thread, self.drop)
        self._thread.shutdown(wait=False)
