"""Keeps one connection to the servers at a time, and makes a new one when it ends."""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from streamd.core.errors import EnvironmentFault
from streamd.jetstream.connection import Connector, NatsConnection
from streamd.jetstream.settings import NatsSettings
from streamd.jetstream.trouble import NatsTrouble

FIRST_PAUSE_S, MOST_PAUSE_S = 0.1, 5.0
"""Pause before the next attempt to connect; it doubles."""


class Reconnecting(ABC):
    """Reads consumers over one connection after another, until it is ended."""

    def __init__(
        self,
        settings: NatsSettings,
        name: str,
        base_dir: Path,
        note_trouble: Callable[[NatsTrouble | EnvironmentFault | None], None],
    ) -> None:
        """`note_trouble` gets the reason why there is no connection, and None once there is one."""
        self._connector = Connector(settings, base_dir, name)
        self._note_trouble = note_trouble
        self._connection: NatsConnection | None = None
        self._ending = False
        self._was_found = False
        """Whether there were consumers, which are not made again: they would begin anew."""
        self._task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Connect and find the consumers. Raises `NatsTrouble` or `EnvironmentFault`."""
        connection = await self._connector.connect()
        try:
            await self._find(connection, "refuse" if self._was_found else "make")
        except BaseException:
            await connection.close()
            raise
        self._connection, self._was_found = connection, True

    async def rehearse(self) -> None:
        """Connect, and check the consumers that there are. Raises as `connect` does."""
        connection = await self._connector.connect()
        try:
            await self._find(connection, "pass")
        finally:
            await connection.close()

    def begin(self) -> None:
        """Begin to read, with the connection that there is or a new one."""
        self._task = asyncio.create_task(self._run())

    async def end(self) -> None:
        """Send the waiting acknowledgements, give back what was not processed, and close the connection."""
        self._ending = True
        task, self._task = self._task, None
        try:
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
            if self._connection is not None:
                with contextlib.suppress(NatsTrouble):
                    await self._leave(self._connection)
                await self._connection.close()
        finally:
            if self._connection is not None:  # this may be cancelled
                self._connection.abort()
            self._connection = None

    @abstractmethod
    async def _find(self, connection: NatsConnection, if_missing: Literal["make", "pass", "refuse"]) -> None:
        """Find the consumers. Raises `NatsTrouble` or `EnvironmentFault`."""

    @abstractmethod
    async def _read(self, connection: NatsConnection) -> None:
        """Read until the connection ends. Raises `NatsTrouble`."""

    @abstractmethod
    async def _leave(self, connection: NatsConnection) -> None:
        """Send the last messages of this reader. Raises `NatsTrouble`."""

    async def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._ending:  # the client may forget a cancellation that comes with an answer
            try:
                if self._connection is None:
                    await self.connect()
                connection = self._connection
                assert connection is not None  # noqa: S101 - for the type checker
                self._note_trouble(None)
                pause_s = FIRST_PAUSE_S
                await self._read(connection)
            except (NatsTrouble, EnvironmentFault) as trouble:
                self._note_trouble(trouble)
            if self._ending:
                return  # `end` closes the connection
            connection, self._connection = self._connection, None
            if connection is not None:
                await connection.close()
            await asyncio.sleep(pause_s)
            pause_s = min(MOST_PAUSE_S, pause_s * 2)
