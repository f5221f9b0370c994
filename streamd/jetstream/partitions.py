"""Reads the partitions of a stream that this worker has, over one connection at a time."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from streamd.core.downstream import Downstream
from streamd.core.errors import EnvironmentFault
from streamd.jetstream.balance import Balance
from streamd.jetstream.connection import NatsConnection
from streamd.jetstream.consumers import Consumer, find_consumer
from streamd.jetstream.delivered import Delivered
from streamd.jetstream.messages import PARTITION
from streamd.jetstream.partition_reader import PartitionReader
from streamd.jetstream.reconnecting import Reconnecting
from streamd.jetstream.source_settings import NatsSourceSettings
from streamd.jetstream.streams import find_partitions
from streamd.jetstream.trouble import NatsTrouble

LOOK_S = 1.0
"""Seconds between two looks at how many workers and messages wait."""


class Partitions(Reconnecting):
    """As `Puller`, for a stream whose partitions are read by one worker each."""

    def __init__(
        self,
        settings: NatsSourceSettings,
        consumers: Sequence[Consumer],
        name: str,
        base_dir: Path,
        downstream: Downstream,
        *,
        take: Callable[[PartitionReader, Any, Delivered], None],
        note: Callable[[int, str, str], None],
        note_lag: Callable[[int, int], None],
        note_trouble: Callable[[NatsTrouble | EnvironmentFault | None], None],
    ) -> None:
        """`take` and `note` are those of each `PartitionReader`; the others are as those of `Puller`."""
        super().__init__(settings, name, base_dir, note_trouble)
        self.readers = [
            PartitionReader(number, consumer, downstream, take=take, note=note)
            for number, consumer in enumerate(consumers)
        ]
        self._stream = settings.stream
        self._subject = settings.subject or PARTITION
        self._balance = Balance(len(consumers))
        self._note_lag = note_lag
        self._stopped = False

    @property
    def unacknowledged(self) -> int:
        """The number of messages that are being processed."""
        return sum(len(reader.unacknowledged) for reader in self.readers)

    async def _find(self, connection: NatsConnection, if_missing: Literal["make", "pass", "refuse"]) -> None:
        for reader in self.readers:
            await find_consumer(connection, reader.consumer, if_missing)
        created = await find_partitions(connection, self._stream, self._subject, len(self.readers))
        for reader in self.readers:
            reader.stream_created = created

    def set_room(self, room: bool) -> None:
        """Whether more messages may be asked for."""
        for reader in self.readers:
            reader.set_room(room)

    def wake(self) -> None:
        """Send the waiting acknowledgements soon."""
        for reader in self.readers:
            reader.wake()

    async def stop_pulling(self) -> None:
        """Take no more messages."""
        self._stopped = True
        for reader in self.readers:
            reader.stop()

    async def _leave(self, connection: NatsConnection) -> None:
        for reader in self.readers:
            await reader.send_acknowledgements(connection)
        for reader in self.readers:
            await reader.give_back(connection, "this worker stops")

    async def _read(self, connection: NatsConnection) -> None:
        """Read until the connection ends or one reader fails. Raises the error of the first."""
        tasks = {asyncio.create_task(reader.run(connection)) for reader in self.readers}
        tasks.add(asyncio.create_task(self._look(connection)))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _look(self, connection: NatsConnection) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            ours = [reader for reader in self.readers if reader.is_ours]
            for reader in ours:
                with contextlib.suppress(NatsTrouble):  # the servers are electing a leader
                    await reader.look(connection)
            self._note_lag(sum(reader.pending for reader in ours), sum(reader.ack_pending for reader in ours))
            others = max((reader.waiting_others for reader in ours), default=0)
            if self._balance.look(len(ours), others) and not self._stopped:
                self._balance.forget()
                reader = max(ours, key=lambda one: one.gained_mono_s)
                reader.give_back_soon(f"{others} other workers wait for partitions")
