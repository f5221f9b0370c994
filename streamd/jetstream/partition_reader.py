"""Reads one partition of a stream, while the server lets this worker and no other read it."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable
from typing import Any

from streamd.core.ack import Status
from streamd.core.clock import read_clock
from streamd.core.downstream import Downstream
from streamd.core.errors import SinkError
from streamd.core.tenure import Tenure
from streamd.jetstream.connection import NatsConnection
from streamd.jetstream.consumers import GROUP, Consumer, consumer_info
from streamd.jetstream.delivered import ACK, NAK, Delivered, Unacknowledged, delivery_of
from streamd.jetstream.streams import API_TIMEOUT_S
from streamd.jetstream.trouble import NatsTrouble
from streamd.positions.stored_parts import FENCED

PIN = "Nats-Pin-Id"
_EXPIRED, _LOST_PIN = "408", "423"
REQUESTS_A_TAKEOVER = 3
"""Requests for messages in the time after which a silent worker loses a partition."""
MOST_LOST_PINS = 64
"""Pins of the past that are remembered, because messages with them may still come."""
PAUSE_S, MOST_PAUSE_S = 2.0, 30.0
"""How long a worker that has given a partition back does not ask for it; it doubles if a sink fails."""

GAINED, TAKEN_OVER, GIVEN_BACK, NOT_CLAIMED = "gained", "taken_over", "given_back", "not_claimed"
STORED_ELSEWHERE = "stored_elsewhere"


class PartitionReader:
    """The consumer of one partition.

    A worker that does not have the partition asks for one message. When no other worker has shown itself for
    a time, the server sends one, with a new pin. The pin makes the worker the reader, but another process may
    still believe that it is. So the worker claims the partition at the sinks, which then refuse what others
    write, and asks the server to deliver anew from the first message that is not stored. As long as it asks,
    it stays the reader. Messages come in order; after a gap, they are delivered anew.
    """

    def __init__(
        self,
        number: int,
        consumer: Consumer,
        downstream: Downstream,
        *,
        take: Callable[["PartitionReader", Any, Delivered], None],
        note: Callable[[int, str, str], None],
    ) -> None:
        """`take` is called with each message in order.

        `note` is called with the number of the partition, what happened to it, and why.
        """
        assert consumer.takeover_s is not None  # noqa: S101 - for the type checker
        self.number = number
        self.consumer = consumer
        self.tenure: Tenure | None = None
        self.stream_created = ""
        """When the stream was made. The numbers of another stream of this name mean other messages."""
        self.unacknowledged = Unacknowledged()
        self.waiting_others = 0
        """How many other workers wait for the partition."""
        self.pending = self.ack_pending = 0
        self.gained_mono_s = 0.0
        """When the worker became the reader."""
        self._downstream = downstream
        self._take = take
        self._note = note
        self._expires_s = consumer.takeover_s / REQUESTS_A_TAKEOVER
        self._pin = ""
        self._lost_pins: deque[str] = deque(maxlen=MOST_LOST_PINS)
        self._came: deque[tuple[int, Any]] = deque()
        self._inbox, self._inboxes = "", 0
        self._subscription: tuple[NatsConnection, Any] | None = None
        self._next = 1
        """The number of the first message that was not offered yet."""
        self._expected = 1
        """The number of the next delivery."""
        self._is_behind, self._missing = False, 0
        """Whether a delivery was lost, and the number of the first that was not there at the last look."""
        self._settled: set[int] = set()
        """Messages whose records are stored, while the state that contains them is not."""
        self._asked = 0
        self._ask_again_mono_s = 0.0
        self._wake = asyncio.Event()
        self._room, self._stopped = True, False
        self._end_reason = self._give_back_why = ""
        self._failures = 0

    @property
    def is_ours(self) -> bool:
        """Whether this worker reads the partition."""
        return self.tenure is not None

    def set_room(self, room: bool) -> None:
        """Whether more messages may be asked for."""
        if room and not self._room and self.tenure is not None:
            self._ask_again_mono_s = 0.0
        self._room = room
        self._wake.set()

    def wake(self) -> None:
        """Send the waiting acknowledgements soon."""
        self._wake.set()

    def stop(self) -> None:
        """Ask for no more messages, and take none."""
        self._stopped = True
        self._wake.set()

    def settle(self, tenure: Tenure, number: int, status: Status) -> None:
        """All records of a message have their fate. It is delivered again if that is bad at the stop."""
        if tenure is not self.tenure or tenure.ended or (self._stopping_badly(status)):
            return
        if self._downstream.keeps_state:
            self._settled.add(number)
        else:
            self.unacknowledged.settle(number, ACK)
            self._wake.set()

    def _stopping_badly(self, status: Status) -> bool:
        return self._stopped and status > Status.REJECTED

    def release(self, kept: int) -> None:
        """States are stored that contain all messages up to this number: nobody needs these any more."""
        for number in sorted(number for number in self._settled if number <= kept):
            self._settled.discard(number)
            self.unacknowledged.settle(number, ACK)
        self._wake.set()

    async def run(self, connection: NatsConnection) -> None:
        """Read until the connection ends. Raises `NatsTrouble`."""
        await self._resume(connection)
        working_s = self.consumer.ack_wait_s / 3
        next_working_mono_s = read_clock().mono_s + working_s
        while connection.lost is None:
            while self._came:
                inbox, message = self._came.popleft()
                if inbox == self._inboxes and not self._stopped:
                    await self._on(connection, message)
            if self.tenure is not None and self.tenure.ended:
                await self._after_end(connection)
            elif self._give_back_why:
                await self.give_back(connection, self._give_back_why)
            elif self._is_behind and self.tenure is not None:
                await self._read_from(connection, self._lowest)
            await self.send_acknowledgements(connection)
            now_mono_s = read_clock().mono_s
            if now_mono_s >= next_working_mono_s:
                next_working_mono_s = now_mono_s + working_s
                for reply, word in self.unacknowledged.still_working():
                    await connection.publish(reply, word)
            await self._ask(connection, now_mono_s)
            wait_s = min(self._expires_s, working_s, max(0.01, self._ask_again_mono_s - now_mono_s))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            self._wake.clear()
        raise NatsTrouble("disconnected", f"{connection.address}: {connection.lost}")

    async def look(self, connection: NatsConnection) -> None:
        """Ask how many messages and how many workers wait, and whether deliveries are missing.

        Raises `NatsTrouble`.
        """
        info = await consumer_info(connection, self.consumer.stream, self.consumer.name)
        self.pending, self.ack_pending = int(info.get("num_pending", 0)), int(info.get("num_ack_pending", 0))
        self.waiting_others = max(0, int(info.get("num_waiting", 0)) - (self._asked > 0))
        # What the server has sent on a connection that is gone comes no more, and nothing follows it.
        is_missing = int(info.get("delivered", {}).get("consumer_seq", 0)) >= self._expected
        if is_missing and self._missing == self._expected:
            self._is_behind = True
            self._wake.set()
        self._missing = self._expected if is_missing else 0

    def give_back_soon(self, why: str) -> None:
        """Let another worker read the partition, once the message is handled that is being handled."""
        self._give_back_why = why
        self._wake.set()

    async def give_back(self, connection: NatsConnection, why: str) -> None:
        """Let another worker read the partition. Raises `NatsTrouble`."""
        self._give_back_why = ""
        if self.tenure is None:
            return
        self.tenure.ended = True
        first = self.unacknowledged.address_of(self._lowest)
        self._lose(GIVEN_BACK, why)
        self._ask_again_mono_s = read_clock().mono_s + PAUSE_S
        await self._unpin(connection)
        if first:  # else the next worker would get no message, and no pin, before `ack_wait`
            await connection.publish(first, NAK)

    async def _unpin(self, connection: NatsConnection) -> None:
        what = f"CONSUMER.UNPIN.{self.consumer.stream}.{self.consumer.name}"
        await connection.api(what, {"group": GROUP}, timeout_s=API_TIMEOUT_S)

    async def send_acknowledgements(self, connection: NatsConnection) -> None:
        """Raises `NatsTrouble`; the rest is sent over the next connection."""
        to_send = self.unacknowledged.to_send
        while to_send:
            reply, word = to_send[0]
            await connection.publish(reply, word)
            to_send.pop(0)

    async def _resume(self, connection: NatsConnection) -> None:
        """Go on with a new connection, if the server still takes this worker for the reader."""
        self._asked, self._ask_again_mono_s = 0, 0.0
        if self.tenure is None:
            await self._new_inbox(connection)
            return
        info = await consumer_info(connection, self.consumer.stream, self.consumer.name)
        pins = [one.get("pinned_client_id") for one in info.get("priority_groups") or ()]
        if self._pin in pins:
            await self._read_from(connection, self._lowest)
        else:
            self.tenure.ended = True
            self._lose(TAKEN_OVER, "the connection was interrupted for too long")
            await self._new_inbox(connection)

    @property
    def _lowest(self) -> int:
        """The number of the first message that is not acknowledged."""
        return min(self.unacknowledged.open, default=self._next)

    async def _new_inbox(self, connection: NatsConnection) -> None:
        old = self._subscription
        self._inboxes += 1
        self._came.clear()
        inbox = self._inboxes

        async def take(message: Any) -> None:
            self._came.append((inbox, message))
            self._wake.set()

        self._inbox, subscription = await connection.subscribe(take)
        self._subscription = connection, subscription
        if old is not None and old[0] is connection:
            await connection.forget(old[1])
        self._asked, self._ask_again_mono_s = 0, 0.0

    async def _on(self, connection: NatsConnection, message: Any) -> None:
        headers = message.headers or {}
        delivery = delivery_of(message.reply) if message.reply else None
        if delivery is None:
            self._asked = max(0, self._asked - int(headers.get("Nats-Pending-Messages", "0") or 0))
            if headers.get("Status") == _EXPIRED and not self._asked:
                self._ask_again_mono_s = 0.0
            if headers.get("Status") == _LOST_PIN and self.tenure is not None:
                self.tenure.ended = True
                self._lose(TAKEN_OVER, "another worker reads it now")
                await self._new_inbox(connection)
            return
        self._asked = max(0, self._asked - 1)
        pin = headers.get(PIN, "")
        if pin in self._lost_pins:
            return
        if self.tenure is not None and pin != self._pin:
            self.tenure.ended = True
            self._lose(TAKEN_OVER, "the server has chosen anew")
        if self.tenure is None:
            await self._gain(connection, pin, message.reply)
        elif delivery.consumer_sequence != self._expected:
            await self._read_from(connection, self._lowest)
        else:
            self._in_order(message, delivery)

    def _in_order(self, message: Any, delivery: Delivered) -> None:
        """Take the next message, unless it came before."""
        self._expected += 1
        number = delivery.stream_sequence
        if number < self._next:
            if number in self.unacknowledged.open:
                self.unacknowledged.take(number, message.reply)
            else:
                self.unacknowledged.to_send.append((message.reply, ACK))
            return
        self._next = number + 1
        self.unacknowledged.take(number, message.reply)
        self._take(self, message, delivery)
        if self._asked <= self.consumer.pull // 2:
            self._ask_again_mono_s = 0.0

    async def _gain(self, connection: NatsConnection, pin: str, reply: str) -> None:
        """Become the reader, by a message with a new pin, which comes again later."""
        consumer = self.consumer
        self._pin = pin
        subject = consumer.subject or ""
        tenure = Tenure(f"{consumer.stream}@{self.stream_created}/{subject}", self._on_end)
        try:
            first = await self._downstream.claim(tenure)
        except SinkError as error:
            self._lost_pins.append(pin)
            self._note(self.number, NOT_CLAIMED, str(error))
            self._ask_again_mono_s = read_clock().mono_s + min(MOST_PAUSE_S, PAUSE_S * 2**self._failures)
            self._failures += 1
            await self._unpin(connection)
            await connection.publish(reply, NAK)  # as in `give_back`
            return
        self._failures = 0
        info = await consumer_info(connection, consumer.stream, consumer.name)
        acknowledged = info.get("ack_floor", {})
        floor = int(acknowledged.get("stream_seq", 0))
        if tenure.is_new and acknowledged.get("consumer_seq", 0):
            self._note(self.number, STORED_ELSEWHERE, f"messages up to {floor}")
        self.tenure = tenure
        self.gained_mono_s = read_clock().mono_s
        self._next = max(first, floor + 1)
        self._note(self.number, GAINED, f"at message {self._next}")
        await self._read_from(connection, self._next)

    async def _read_from(self, connection: NatsConnection, number: int) -> None:
        self._is_behind, self._missing = False, 0
        await self._new_inbox(connection)  # before, as nothing that is delivered anew may come to the old one
        self._expected = 1
        what = f"CONSUMER.RESET.{self.consumer.stream}.{self.consumer.name}"
        await connection.api(what, {"seq": number}, timeout_s=API_TIMEOUT_S)

    def _on_end(self, reason: str) -> None:
        self._end_reason = reason
        self._wake.set()

    async def _after_end(self, connection: NatsConnection) -> None:
        """A sink has ended the tenure."""
        reason, self._end_reason = self._end_reason, ""
        if reason == FENCED:
            self._lose(FENCED, "another worker has claimed it")
            await self._new_inbox(connection)
        else:
            await self.give_back(connection, "the pipelines have changed")

    def _lose(self, what: str, why: str) -> None:
        tenure, self.tenure = self.tenure, None
        if self._pin:
            self._lost_pins.append(self._pin)
        self._pin = ""
        self.unacknowledged.clear()
        self._settled.clear()
        self._came.clear()
        if tenure is not None:
            self._downstream.release(tenure)
        self._note(self.number, what, why)

    async def _ask(self, connection: NatsConnection, now_mono_s: float) -> None:
        if self._stopped or now_mono_s < self._ask_again_mono_s:
            return
        request: dict[str, Any] = {"batch": 1, "expires": int(self._expires_s * 1e9), "group": GROUP}
        self._ask_again_mono_s = now_mono_s + self._expires_s * 1.5
        if self.tenure is None:
            self._asked = 1
        else:
            request["id"] = self._pin
            if self._room:
                request["batch"] = max(1, self.consumer.pull - self._asked)
                self._asked = max(self._asked + 1, self.consumer.pull)
            else:
                request["max_bytes"] = 1  # fits no message: it only says that this worker is there
                self._ask_again_mono_s = now_mono_s + self._expires_s
        what = f"$JS.API.CONSUMER.MSG.NEXT.{self.consumer.stream}.{self.consumer.name}"
        await connection.publish(what, json.dumps(request).encode(), reply=self._inbox)
