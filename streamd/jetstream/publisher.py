"""Publishes messages to a stream, each until the stream has acknowledged it."""

import asyncio
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from streamd.core.clock import read_clock
from streamd.core.counters import Counters
from streamd.jetstream.connection import Connector, NatsConnection, answered
from streamd.jetstream.create import CreateSettings
from streamd.jetstream.messages import Message
from streamd.jetstream.settings import NatsSettings
from streamd.jetstream.streams import Stream, find_stream
from streamd.jetstream.trouble import ApiError, NatsTrouble

_IN_FLIGHT = 32
"""Most messages that wait for the server at the same time, each of another partition."""
_NO_ROOM = frozenset({10023, 10047, 10077, 10122})
"""JetStream's errors for a full stream, and for servers without memory or disk space."""
_NOT_STORED = frozenset({"no_stream", "refused", "stream_full"})
"""Troubles after which the stream certainly does not hold the message."""


class Publisher:
    """Has one connection at a time. A partition has one unacknowledged message, so its order is kept."""

    def __init__(
        self,
        settings: NatsSettings,
        name: str,
        base_dir: Path,
        counters: Counters,
        *,
        subjects: list[str],
        create: CreateSettings | None,
        ack_timeout_s: float,
    ) -> None:
        self.acknowledged = 0
        """Number of acknowledged messages."""
        self._settings = settings
        self._connector = Connector(settings, base_dir, name)
        self._counters = counters
        self._subjects = subjects
        self._create = create
        self._ack_timeout_s = ack_timeout_s
        self._connection: NatsConnection | None = None
        self._stream: Stream | None = None
        self._in_flight = asyncio.Semaphore(_IN_FLIGHT)

    async def connect(self) -> Stream:
        """Connect if there is no connection, and check the stream.

        Raises `NatsTrouble` or `EnvironmentFault`.
        """
        if self._stream is not None and self._connection is not None and self._connection.lost is None:
            return self._stream
        await self.close()
        connection = await self._connector.connect()
        try:
            self._stream = await find_stream(connection, self._settings.stream, self._subjects, self._create)
        except BaseException:
            await connection.close()
            raise
        self._connection = connection
        return self._stream

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection, self._stream = self._connection, None, None
        if connection is not None:
            await connection.close()

    async def publish(self, waiting: Mapping[int, deque[Message]]) -> None:
        """Send the messages of all partitions, and remove each from its queue once it is acknowledged.

        Raises `NatsTrouble` or `EnvironmentFault`. Then the queues hold the other messages.
        """
        stream = await self.connect()
        failed: list[NatsTrouble] = []
        async with asyncio.TaskGroup() as group:
            for queue in waiting.values():
                if queue:
                    group.create_task(self._send_all(queue, stream, failed))
        if failed:
            raise failed[0]

    async def _send_all(self, queue: deque[Message], stream: Stream, failed: list[NatsTrouble]) -> None:
        """Send the messages of one partition in their order, until one of any partition has failed."""
        while queue:
            async with self._in_flight:
                if failed:
                    return
                message = queue[0]
                self._note_attempt(message, stream)
                try:
                    is_duplicate = await self._send(message)
                except NatsTrouble as trouble:
                    if trouble.reason in _NOT_STORED:
                        message.first_sent_mono_s = None
                    failed.append(trouble)
                    return
            queue.popleft()
            self.acknowledged += 1
            self._counters.add("messages")
            if is_duplicate:
                self._counters.add("duplicates")

    def _note_attempt(self, message: Message, stream: Stream) -> None:
        now_mono_s = read_clock().mono_s
        if message.first_sent_mono_s is None:
            message.first_sent_mono_s = now_mono_s
        elif not message.is_late and now_mono_s - message.first_sent_mono_s > stream.duplicate_window_s:
            message.is_late = True
            self._counters.add("resent_late")

    async def _send(self, message: Message) -> bool:
        """Whether the stream had stored the message at an earlier attempt. Raises `NatsTrouble`."""
        connection = self._connection
        if connection is None:
            raise NatsTrouble("disconnected", "the sink is closed")
        reply = await connection.request(
            message.subject, message.payload, headers=message.headers, timeout_s=self._ack_timeout_s
        )
        try:
            return bool(answered(reply).get("duplicate"))
        except ApiError as error:
            if error.code in _NO_ROOM:
                raise NatsTrouble("stream_full", f"{self._settings.stream}: {error.detail}") from None
            raise
