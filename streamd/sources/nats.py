"""Reads records from a stream of NATS JetStream, and acknowledges them once they are committed."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import structlog

from streamd.core.ack import Ack, Status
from streamd.core.clock import read_clock
from streamd.core.contracts import Outlet, Source, SourceContext
from streamd.core.errors import ConfigError, EnvironmentFault, FramingError
from streamd.core.framer_counts import CUTTING, LOST_FRAMES, book_counts, book_error
from streamd.core.frames import Frames, RefusedFrame
from streamd.core.peer import Peer
from streamd.core.tenure import InputPart, Tenure
from streamd.jetstream.delivered import ACK, NAK, Delivered, Unacknowledged, delivery_of
from streamd.jetstream.messages import PARTITION
from streamd.jetstream.source_settings import NatsSourceSettings
from streamd.jetstream.trouble import NatsRefused, NatsTrouble
from streamd.positions.stored_parts import FENCED

if TYPE_CHECKING:  # it needs the packages of the extra `nats`
    from streamd.jetstream.partition_reader import PartitionReader
    from streamd.jetstream.partitions import Partitions
    from streamd.jetstream.puller import Puller

log = structlog.get_logger()

_MOST_PEERS = 65536
"""Most subjects whose `Peer` is cached."""


class Nats(Source["Nats.Config"]):
    """Reads a stream of NATS JetStream through a durable consumer, at least once.

    The source pulls messages while its buffer has room. It acknowledges a message when all its records are
    stored, filtered out, dead letters, or counted as lost. The server delivers a message again that was not
    acknowledged, for example because streamd was killed; then some of its records may be stored twice. They
    are in the books each time, and `redelivered` counts the messages. While streamd works on a message, it
    tells the server so, and the message is not delivered again.

    A message whose `max_deliver` deliveries were not acknowledged, because streamd ended each time, becomes a
    dead letter (`too_many_tries`) with its bytes. If several sources use one consumer, each message goes to
    one of them; the order of records is then lost. The sender of a record (`_peer`) is its subject.

    With `partitions`, each partition of the stream has a consumer of its own, and the server lets one worker
    at a time read it. If that one is silent for `takeover`, the server lets another one continue; if a worker
    joins, others give it some of their partitions. The sinks store how far each partition is stored in the
    transaction of its records, so each record is stored once, and a worker that has lost a partition and does
    not know it stores nothing. The books count what is left out.

    The consumer is made if it is missing. Servers that cannot be reached are tried again. Needs the extra
    `nats`.
    """

    opens_beside = True
    counters: ClassVar[Mapping[str, str]] = {
        **CUTTING,
        "messages": "messages that came, redelivered ones too",
        "redelivered": "messages that had been delivered before; their records may be stored twice",
        "repeated_early": "messages that came again while they were being processed, and were left out",
        "partitions_gained": "partitions that this worker began to read",
        "partitions_lost": "partitions that another worker reads since",
    }
    gauges: ClassVar[Mapping[str, str]] = {
        "num_pending": "messages of the stream that wait for the consumer",
        "num_ack_pending": "messages that the server has delivered and that are not acknowledged",
        "partitions_owned": "partitions that this worker reads now",
    }
    address: str

    class Config(NatsSourceSettings):
        """A consumer of a stream, or one for each of its partitions."""

    def __init__(self, config: Config, context: SourceContext) -> None:
        super().__init__(config, context)
        servers = ", ".join(map(str, config.servers))
        self.address = f"{servers}/{config.stream}/{config.consumer}"
        self._unacknowledged = Unacknowledged()
        self._partitions: Partitions | None = None
        self._puller = self._new_puller()
        self._peers: dict[str, Peer] = {}
        self._stopping = False
        self._ended = False
        self._closing: asyncio.Task[None] | None = None
        self._waiting = False
        self._owned = 0

    def _new_puller(self) -> "Puller | Partitions":
        """Raises `ConfigError` without the extra."""
        try:
            from streamd.jetstream.consumers import Consumer  # noqa: PLC0415 - only this source needs nats-py
            from streamd.jetstream.partitions import Partitions  # noqa: PLC0415 - the same
            from streamd.jetstream.puller import Puller  # noqa: PLC0415 - the same
        except ImportError as error:
            raise ConfigError(
                f"the source nats needs the package {error.name or 'nats-py'}: pip install"
                " 'streamd-daemon[nats]'",
                ("type",),
            ) from None
        config = self.config
        consumer = Consumer(
            config.stream,
            config.consumer,
            config.subject,
            new_only=config.start == "end",
            ack_wait_s=config.ack_wait,
            max_ack_pending=config.max_ack_pending,
            pull=config.pull,
        )
        if config.partitions is not None:
            assert config.subject is not None  # noqa: S101 - for the type checker
            consumers = [
                replace(
                    consumer,
                    name=f"{config.consumer}-{number}",
                    subject=config.subject.replace(PARTITION, str(number)),
                    ack_wait_s=config.takeover,  # else what a dead worker had would hold up the next one
                    takeover_s=config.takeover,
                )
                for number in range(config.partitions)
            ]
            self._partitions = Partitions(
                config,
                consumers,
                f"streamd source {self.context.name}",
                self.context.base_dir,
                self.context.downstream,
                take=self._take_in_order,
                note=self._note_partition,
                note_lag=self._note_lag,
                note_trouble=self._note_trouble,
            )
            return self._partitions
        return Puller(
            config,
            consumer,
            f"streamd source {self.context.name}",
            self.context.base_dir,
            self._unacknowledged,
            take=self._take,
            note_lag=self._note_lag,
            note_trouble=self._note_trouble,
        )

    async def open(self, outlet: Outlet) -> None:
        """Connect, find or make the consumer, and begin to pull. Servers that do not answer are tried again.

        Raises `EnvironmentFault` if the login, TLS, the stream or the consumer has to be mended.
        """
        self._outlet = outlet
        self.context.downstream.on_kept = self._note_kept
        outlet.on_resume(partial(self._puller.set_room, True))
        await self._connect()
        self._puller.begin()

    async def _connect(self) -> None:
        try:
            await self._puller.connect()
        except NatsRefused as refused:
            raise EnvironmentFault(f"source {self.context.name}: {refused.detail}") from None
        except EnvironmentFault as fault:
            raise EnvironmentFault(f"source {self.context.name}: {fault}") from None
        except NatsTrouble as trouble:
            self._note_trouble(trouble)

    def rehearse(self) -> None:
        """Connect, and check the stream and the consumer, which is not made. Raises `EnvironmentFault`."""
        rehearsal = Nats(self.config, self.context)
        with ThreadPoolExecutor(1) as own:  # an event loop may run in this thread
            own.submit(asyncio.run, rehearsal._try()).result()

    async def _try(self) -> None:
        try:
            await self._puller.rehearse()
        except NatsRefused as refused:
            raise EnvironmentFault(f"source {self.context.name}: {refused.detail}") from None
        except EnvironmentFault as fault:
            raise EnvironmentFault(f"source {self.context.name}: {fault}") from None
        except NatsTrouble:
            pass

    async def stop(self) -> None:
        """Stop pulling. The connection stays until the frames are settled, or until the second call."""
        is_second, self._stopping = self._stopping, True
        if not self._ended:
            await self._puller.stop_pulling()
        if is_second or not self._open_messages:
            await self._end()

    @property
    def _open_messages(self) -> int:
        """The number of messages that are being processed."""
        return len(self._unacknowledged) if self._partitions is None else self._partitions.unacknowledged

    async def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._unacknowledged.give_back()
            await self._puller.end()

    def _note_lag(self, pending: int, ack_pending: int) -> None:
        self.context.counters.set_gauge("num_pending", pending)
        self.context.counters.set_gauge("num_ack_pending", ack_pending)

    def _note_partition(self, number: int, what: str, why: str) -> None:
        counters, gained, source = self.context.counters, what == "gained", self.context.name
        if what == "not_claimed":
            log.warning("partition_not_claimed", source=source, partition=number, why=why)
            return
        if what == "stored_elsewhere":
            log.error(
                "partition_stored_elsewhere",
                source=source,
                partition=number,
                stored=why,
                hint="a sink of this worker has never had records of it: all workers have to write the same"
                " database, or records are stored twice and windows are wrong",
            )
            return
        counters.add("partitions_gained" if gained else "partitions_lost")
        self._owned += 1 if gained else -1
        counters.set_gauge("partitions_owned", self._owned)
        if gained:
            log.info("partition_gained", source=source, partition=number, begins=why)
        elif what == FENCED:
            log.warning("partition_fenced", source=source, partition=number, why=why)
        else:
            log.info("partition_lost", source=source, partition=number, why=why)

    def _note_kept(self, tenure: Tenure, kept: int) -> None:
        for reader in self._partitions.readers if self._partitions is not None else ():
            if reader.tenure is tenure:
                reader.release(kept)
        if self._stopping and not self._open_messages:
            self._closing = asyncio.ensure_future(self._end())

    def _note_trouble(self, trouble: NatsTrouble | EnvironmentFault | None) -> None:
        if trouble is None:
            log.info("nats_connected", source=self.context.name, address=self.address)
            self._waiting = False
        elif not self._waiting:
            self._waiting = True
            log.warning("nats_waiting", source=self.context.name, address=self.address, why=str(trouble))

    def _take(self, message: Any) -> None:
        """Offer the frames of a message."""
        delivery = delivery_of(message.reply)
        if delivery is None:
            return
        counters = self.context.counters
        counters.add("messages")
        if self._stopping:
            self._unacknowledged.to_send.append((message.reply, NAK))
            return
        sequence = delivery.stream_sequence
        if not self._unacknowledged.take(sequence, message.reply):
            counters.add("repeated_early")
            return
        if delivery.times > 1:
            counters.add("redelivered")
        if delivery.times <= self.config.max_deliver:
            frames, flagged = self._cut(message)
        else:
            detail = f"delivered {delivery.times - 1} times before, and never acknowledged"
            frames, flagged = [RefusedFrame(message.data, "too_many_tries", detail)], True
        if not frames:
            self._settle(sequence, Status.DELIVERED)
            return
        offered = Frames.of(
            frames,
            self._peer(message.subject),
            read_clock().wall_s,
            ack=Ack(lambda status: self._settle(sequence, status)),
            flagged=flagged,
        )
        if not self._outlet.offer(offered):
            self._puller.set_room(False)

    def _take_in_order(self, reader: "PartitionReader", message: Any, delivery: Delivered) -> None:
        """Offer the frames of a message of a partition."""
        self.context.counters.add("messages")
        tenure, number = reader.tenure, delivery.stream_sequence
        assert tenure is not None  # noqa: S101 - for the type checker
        frames, flagged = self._cut(message)
        part = InputPart(tenure, number, delivery.stored_at_wall_s)
        settle = partial(self._settle_in_order, reader, part)
        if not frames:
            settle(Status.DELIVERED)
            return
        offered = Frames.of(
            frames,
            self._peer(message.subject),
            delivery.stored_at_wall_s,
            ack=Ack(settle, part),
            flagged=flagged,
        )
        if not self._outlet.offer(offered):
            self._puller.set_room(False)

    def _settle_in_order(self, reader: "PartitionReader", part: InputPart, status: Status) -> None:
        if self._ended:
            return
        reader.settle(part.tenure, part.number, status)
        if self._stopping and not self._open_messages:
            self._closing = asyncio.ensure_future(self._end())

    def _cut(self, message: Any) -> tuple[list[bytes], bool]:
        """The frames of a message, whose end ends its last frame, and whether some are flagged.

        Lost frames are counted.
        """
        new_framer: Callable[[], Any] | None = self.context.new_framer
        if new_framer is None:
            return [message.data], False
        framer = new_framer()
        try:
            frames: list[bytes] = framer.feed(message.data) + framer.feed_eof()
        except FramingError as error:
            frames = error.frames
            book_error(error, self.context.counters)
            if LOST_FRAMES.keys().isdisjoint(framer.counts):
                self._outlet.refuse(1, "framing")
        else:
            if framer.counts.pop("unterminated", 0):
                frames.append(bytes(frames.pop()))
        flagged = bool(framer.counts)
        book_counts(framer, self._outlet, self.context.counters)
        return frames, flagged

    def _peer(self, subject: str) -> Peer:
        peer = self._peers.get(subject)
        if peer is None:
            if len(self._peers) >= _MOST_PEERS:
                self._peers.clear()
            peer = self._peers[subject] = Peer(subject)
        return peer

    def _settle(self, sequence: int, status: Status) -> None:
        if self._ended or (self._stopping and status > Status.REJECTED):
            return  # it is given back at the end, and delivered again
        self._unacknowledged.settle(sequence, ACK)
        if self._stopping and not self._unacknowledged:
            self._closing = asyncio.ensure_future(self._end())
        else:
            self._puller.wake()
