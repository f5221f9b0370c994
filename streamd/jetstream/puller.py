"""Pulls messages of a consumer over one connection at a time, and sends their acknowledgements."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from streamd.core.clock import read_clock
from streamd.core.errors import EnvironmentFault
from streamd.jetstream.connection import NatsConnection
from streamd.jetstream.consumers import Consumer, consumer_info, find_consumer
from streamd.jetstream.delivered import Unacknowledged
from streamd.jetstream.reconnecting import Reconnecting
from streamd.jetstream.settings import NatsSettings
from streamd.jetstream.trouble import ApiError, NatsTrouble

PULL_S = 5.0
"""How long the server keeps a request for messages."""
LATE_S = 2.0
"""A request is made anew if the server has not answered it so much later."""
LAG_S = 5.0
"""Seconds between two questions for the number of waiting messages."""


class Puller(Reconnecting):
    """Asks for messages while there is room, in such a way that a request always waits at the server."""

    def __init__(
        self,
        settings: NatsSettings,
        consumer: Consumer,
        name: str,
        base_dir: Path,
        unacknowledged: Unacknowledged,
        *,
        take: Callable[[Any], None],
        note_lag: Callable[[int, int], None],
        note_trouble: Callable[[NatsTrouble | EnvironmentFault | None], None],
    ) -> None:
        """`take` is called with each message, `note_lag` with the numbers of waiting and unacknowledged."""
        super().__init__(settings, name, base_dir, note_trouble)
        self._consumer = consumer
        self._unacknowledged = unacknowledged
        self._take = take
        self._note_lag = note_lag
        self._asked = 0
        """Number of messages that were asked for and have not come."""
        self._ask_again_mono_s = 0.0
        self._wake = asyncio.Event()
        self._room = True
        self._stopped = False
        self._subscription: Any = None

    async def _find(self, connection: NatsConnection, if_missing: Literal["make", "pass", "refuse"]) -> None:
        await find_consumer(connection, self._consumer, if_missing)

    def set_room(self, room: bool) -> None:
        """Whether more messages may be asked for."""
        self._room = room
        self._wake.set()

    async def stop_pulling(self) -> None:
        """Ask for no more messages. When it returns, all that are on their way have come."""
        self.set_room(False)
        self._stopped = True
        if self._connection is not None and self._subscription is not None:
            with contextlib.suppress(NatsTrouble):
                await self._connection.unsubscribe(self._subscription)

    def wake(self) -> None:
        """Send the waiting acknowledgements soon."""
        self._wake.set()

    async def _leave(self, connection: NatsConnection) -> None:
        await self._send_acknowledgements(connection)

    async def _read(self, connection: NatsConnection) -> None:
        """Pull until the connection ends. Raises `NatsTrouble`."""
        self._asked = 0

        async def take(message: Any) -> None:
            if message.reply:
                self._asked = max(0, self._asked - 1)
                self._take(message)
            else:  # the end of a request, with the number of messages that did not come
                left = (message.headers or {}).get("Nats-Pending-Messages", "0")
                self._asked = max(0, self._asked - int(left))
            if self._asked <= self._consumer.pull // 2:
                self._wake.set()

        inbox, self._subscription = await connection.subscribe(take)
        next_lag_mono_s = next_working_mono_s = read_clock().mono_s
        working_s = self._consumer.ack_wait_s / 3
        while connection.lost is None and not self._ending:
            await self._send_acknowledgements(connection)
            now_mono_s = read_clock().mono_s
            if now_mono_s >= next_working_mono_s:
                next_working_mono_s = now_mono_s + working_s
                for reply, word in self._unacknowledged.still_working():
                    await connection.publish(reply, word)
            await self._ask(connection, inbox, now_mono_s)
            if now_mono_s >= next_lag_mono_s:
                next_lag_mono_s = now_mono_s + LAG_S
                await self._ask_lag(connection)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(1.0, working_s)):
                    await self._wake.wait()
            self._wake.clear()
        if not self._ending:
            raise NatsTrouble("disconnected", f"{connection.address}: {connection.lost}")

    async def _ask(self, connection: NatsConnection, inbox: str, now_mono_s: float) -> None:
        if self._asked and now_mono_s >= self._ask_again_mono_s:
            self._asked = 0  # the server has forgotten the request, as it does when it elects a leader
        most = self._consumer.pull
        if not self._room or self._stopped or self._asked > most // 2:
            return
        request = {"batch": most - self._asked, "expires": int(PULL_S * 1e9)}
        self._asked = most
        self._ask_again_mono_s = now_mono_s + PULL_S + LATE_S
        what = f"$JS.API.CONSUMER.MSG.NEXT.{self._consumer.stream}.{self._consumer.name}"
        await connection.publish(what, json.dumps(request).encode(), reply=inbox)

    async def _ask_lag(self, connection: NatsConnection) -> None:
        try:
            info = await consumer_info(connection, self._consumer.stream, self._consumer.name)
        except ApiError:  # it was deleted
            raise
        except NatsTrouble:  # the servers are electing a leader
            return
        self._note_lag(int(info.get("num_pending", 0)), int(info.get("num_ack_pending", 0)))

    async def _send_acknowledgements(self, connection: NatsConnection) -> None:
        """Raises `NatsTrouble`; the rest is sent over the next connection."""
        to_send = self._unacknowledged.to_send
        while to_send:
            reply, word = to_send[0]
            await connection.publish(reply, word)
            to_send.pop(0)
