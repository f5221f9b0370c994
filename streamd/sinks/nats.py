"""Publishes records to a stream of NATS JetStream, many records in a message."""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from streamd.core.batch import Batch, Record
from streamd.core.clock import read_clock
from streamd.core.contracts import Encoded, OriginOf, Sink, SinkContext, Written, one_by_one
from streamd.core.errors import BadData, ConfigError, EnvironmentFault, SinkError
from streamd.core.record_key import Key, KeyTexts, RecordKey
from streamd.core.settings import DurationS, Settings, SinkOutput, SinkSettings, SizeBytes
from streamd.encoders.json import Json
from streamd.encoding.lines import Lines, Prepared
from streamd.encoding.separated import Separated
from streamd.jetstream.create import CreateSettings
from streamd.jetstream.messages import PARTITION, Message, MessageMaker, partition_of
from streamd.jetstream.outbox import Outbox
from streamd.jetstream.published import Published
from streamd.jetstream.settings import NatsSettings
from streamd.jetstream.trouble import MissingStream, NatsRefused, NatsTrouble
from streamd.positions.stored_parts import SortedOut

if TYPE_CHECKING:  # it needs the packages of the extra `nats`
    from streamd.jetstream.publisher import Publisher

_LAST_WAIT_S = 2.0


class Nats(Sink["Nats.Config"]):
    """Publishes records to a stream of NATS JetStream, at least once, many records in a message.

    A message holds one JSON object on each line. A record is `stored` once the server has acknowledged its
    message: then the stream holds it, on as many servers as the stream has replicas. The messages of a
    partition are sent one after the other, so its records keep their order, also over retries. Records with
    equal values of `partition_by` are in the same partition: CRC-32 of the values, modulo `partitions`.

    If the connection ends, the servers elect a leader, or the stream is full, the sink waits and sends the
    same messages again, without limit. Each message has an id, by which the server knows it for the
    stream's `duplicate_window`. So a message is stored once, except if its acknowledgement was lost and it
    could be sent again only after that time (counted as `resent_late`), or if streamd was killed and its
    source sends the records again.

    A source of the type `file` reads some records again after a kill. The sink knows them: it keeps the
    messages of a write, and the number of the last line before, in `outbox/<sink>` below `state_dir`. It
    sends the messages again with their ids, and leaves out the records of lines that were published.

    The stream must exist, or `create` makes it. It must refuse messages when it is full (`discard = new`);
    one that deletes unread messages is refused at the start. Servers that cannot be reached at the start are
    tried again later. Needs the extra `nats`.
    """

    opens_beside = True
    in_each_process = True

    counters: ClassVar[Mapping[str, str]] = {
        "messages": "messages that the stream acknowledged, each with one or more records",
        "duplicates": "messages that were sent again, and that the stream had stored at an earlier attempt",
        "resent_late": "messages that were sent again, unacknowledged, when the stream no longer remembered"
        " the ids of the first attempt; at most this many are in the stream twice",
    }

    class Config(NatsSettings, SinkSettings):
        """Settings of a NATS sink."""

        subject: str = Field(
            pattern=r"^[^$\s.*>][^\s.*>]*(\.[^\s.*>]+)*$",
            max_length=200,
            description="subject of the messages; {partition} in it becomes the number of the partition",
        )
        partitions: int = Field(1, ge=1, le=1024, description="number of partitions")
        partition_by: KeyTexts = Field(
            [],
            description="fields whose values select the partition of a record; required with several"
            " partitions. A record without any of them is a dead letter (key:missing)",
        )
        metadata: bool = Field(False, description="add the fields _received_at, _source and _peer")
        max_message_records: int = Field(500, ge=1, description="most records in a message")
        max_message: SizeBytes = Field(
            "512KiB",  # type: ignore[assignment]  # parsed by the validator
            ge=1024,
            description="most bytes of records in a message, at most what server and stream allow; a longer"
            " record is a dead letter (too_long)",
        )
        ack_timeout: DurationS = Field(
            "5s",  # type: ignore[assignment]  # parsed by the validator
            gt=0,
            description="longest wait for the acknowledgement of a message before it is sent again",
        )
        create: CreateSettings | None = Field(
            None, description="makes the stream if it is missing. Default: a missing stream is an error"
        )

        @model_validator(mode="after")
        def _has_partitions(self) -> Self:
            if self.partitions > 1 and not self.partition_by:
                raise ValueError("several partitions need partition_by: the fields that select one")
            if self.partition_by and self.partitions == 1:
                raise ValueError("partition_by does nothing with one partition: set partitions")
            if self.partitions > 1 and PARTITION not in self.subject:
                raise ValueError(
                    f"with several partitions the subject needs {PARTITION}, like {self.subject}.{PARTITION}"
                )
            if any("meta(" in text for text in self.partition_by):
                raise ValueError(
                    "partition_by takes fields of the record: copy metadata into one with a step"
                )
            return self

        @property
        def subjects(self) -> list[str]:
            """The subjects of all partitions, for the stream."""
            if PARTITION in self.subject.split("."):
                return [self.subject.replace(PARTITION, "*")]
            return list(
                dict.fromkeys(self.subject.replace(PARTITION, str(n)) for n in range(self.partitions))
            )

        @property
        def outputs(self) -> tuple[SinkOutput, ...]:
            """The addresses of the servers."""
            return tuple(SinkOutput("tcp", str(address), key="servers") for address in self.servers)

    config: "Nats.Config"

    def __init__(self, config: Config, context: SinkContext) -> None:
        super().__init__(config, context)
        self._publisher = self._new_publisher()
        self._separated = Separated(Json(Settings()), "newline", add_metadata=config.metadata)
        self._lines = Lines(context, self._encode, add_metadata=config.metadata)
        self._key_of: Callable[[Record], Key] | None = None
        if config.partition_by:
            self._key_of = RecordKey(config.partition_by, None, option="partition_by").of
        self._partitions: list[int] = []
        """The partition of each line that is made."""
        self._maker = MessageMaker(
            secrets.token_hex(8), config.stream, config.subject, config.max_message_records
        )
        self._most_bytes = config.max_message
        """Longest line."""
        outbox = Outbox(
            context.state_dir / "outbox" / context.name,
            config.model_dump(mode="json", include={"stream", "subject", "partitions", "partition_by"}),
        )
        self._published = Published(outbox)
        self._sorted: tuple[Sequence[Batch], SortedOut] | None = None
        """The batches being written, and those of their records that the stream does not hold."""
        self._prepared: Prepared | None = None
        """The lines of these records, once they are in messages."""
        self._recovered: dict[int, deque[Message]] = {}
        """The messages that a killed process was publishing. They are sent first."""
        self._waiting: dict[int, deque[Message]] = {}
        """The messages that are not acknowledged yet, by partition. A retry sends these."""
        self._writing: asyncio.Task[Any] | None = None
        self._trouble: tuple[str, float] | None = None

    def _new_publisher(self) -> "Publisher":
        """Raises `ConfigError` without the extra."""
        try:
            from streamd.jetstream.publisher import Publisher  # noqa: PLC0415 - only this sink needs nats-py
        except ImportError as error:
            raise ConfigError(
                f"the sink nats needs the package {error.name or 'nats-py'}: pip install"
                " 'streamd-daemon[nats]'",
                ("type",),
            ) from None
        return Publisher(
            self.config,
            f"streamd sink {self.context.name}",
            self.context.base_dir,
            self.context.counters,
            subjects=self.config.subjects,
            create=self.config.create,
            ack_timeout_s=self.config.ack_timeout,
        )

    async def open(self) -> None:
        """Connect, and check or make the stream. Servers that do not answer are tried again at each write.

        Raises `EnvironmentFault` if the login, TLS or the stream has to be mended.
        """
        try:
            await self._publisher.connect()
        except NatsRefused as refused:
            raise EnvironmentFault(f"sink {self.context.name}: {refused.detail}") from None
        except EnvironmentFault as fault:
            raise EnvironmentFault(f"sink {self.context.name}: {fault}") from None
        except NatsTrouble as trouble:
            self._trouble = trouble.reason, read_clock().mono_s

    def rehearse(self) -> list[str]:
        """Connect and check the stream, which is not made. Raises `EnvironmentFault`."""
        rehearsal = Nats(self.config.model_copy(update={"create": None}), self.context)
        may_be_missing = self.config.create is not None
        with ThreadPoolExecutor(1) as own:  # an event loop may run in this thread
            own.submit(asyncio.run, rehearsal._try(may_be_missing=may_be_missing)).result()
        return []

    async def _try(self, *, may_be_missing: bool) -> None:
        try:
            await self.open()
        except EnvironmentFault as fault:
            if not (may_be_missing and isinstance(fault.__context__, MissingStream)):
                raise
        finally:
            await self.close()

    @property
    def trouble(self) -> tuple[str, float] | None:
        """The reason why the last attempt to connect or to publish failed."""
        return self._trouble

    @property
    def progress(self) -> int:
        """The number of acknowledged messages."""
        return self._publisher.acknowledged

    def stored_frames(self, sequence: str) -> Collection[int]:
        """The last numbered frame of each pipeline that is in the stream. Raises `EnvironmentFault`."""
        try:
            return self._published.ends_of(sequence)
        except OSError as error:
            raise EnvironmentFault(f"sink {self.context.name}: {_unusable(error)}") from None

    async def write(self, batches: Sequence[Batch]) -> Written:
        """Return once the stream has acknowledged every message. Raises `SinkError`.

        Then the messages that are not acknowledged are kept for the next attempt.
        """
        self._writing = asyncio.current_task()
        try:
            found = await self._sorted_out(batches)
            prepared = await self._made(found.batches)
            if self._published.has_to_put:
                await asyncio.to_thread(self._published.put, self._waiting, read_clock())
            await self._publisher.publish(self._waiting)
            if self._published.has_put:
                await asyncio.to_thread(self._published.done)
            self._published.stored(found)
        except NatsTrouble as trouble:
            raise self._error(trouble.reason, trouble.detail) from None
        except EnvironmentFault as fault:
            raise self._error("refused", str(fault)) from None
        except OSError as error:
            raise self._error("outbox", _unusable(error)) from None
        finally:
            self._writing = None
        self._trouble = self._prepared = self._sorted = None
        self._lines.forget()
        return found.written(prepared.written())

    async def _sorted_out(self, batches: Sequence[Batch]) -> SortedOut:
        """The records that the stream does not hold, after all messages of a killed process."""
        if self._published.is_needed(batches):
            self._recovered = await asyncio.to_thread(self._published.load, read_clock())
        if any(self._recovered.values()):
            await self._publisher.publish(self._recovered)
        if self._sorted is None or self._sorted[0] is not batches:
            self._sorted = batches, self._published.sort_out(batches)
        return self._sorted[1]

    async def _made(self, batches: Sequence[Batch]) -> Prepared:
        """The lines of the batches, of which the messages are made at the first attempt."""
        if self._prepared is None or self._prepared.batches is not batches:
            stream = await self._publisher.connect()
            most_bytes = stream.max_message_bytes - self._maker.headers_bytes()
            self._most_bytes = min(self.config.max_message, most_bytes)
            self._partitions.clear()
            prepared = await self._lines.of(batches)
            partitions = self._partitions if self._key_of is not None else None
            self._waiting = self._maker.messages(prepared.lines, partitions, self._most_bytes)
            self._prepared = prepared
        return self._prepared

    def _error(self, reason: str, detail: str) -> SinkError:
        if self._trouble is None or self._trouble[0] != reason:
            self._trouble = reason, read_clock().mono_s
        return SinkError(reason, detail)

    def _encode(self, records: list[Record], origin_of: OriginOf) -> Encoded:
        """The lines of the records that a message has room for, and that have a partition."""
        encoded = self._separated.encode(records, origin_of)
        lines = iter(encoded.messages)

        def with_partition(record: Record, index: int) -> bytes:
            if (bad := encoded.rejects.get(index)) is not None:
                raise bad
            line = next(lines)
            if len(line) > self._most_bytes:
                raise BadData("too_long", f"{len(line)} bytes, and a message holds {self._most_bytes}")
            if self._key_of is not None:
                self._partitions.append(partition_of(self._key_of(record), self.config.partitions))
            return line

        if max(map(len, encoded.messages), default=0) <= self._most_bytes:
            if self._key_of is None:
                return encoded
            if not encoded.rejects:
                try:
                    partitions = [
                        partition_of(self._key_of(record), self.config.partitions) for record in records
                    ]
                except BadData:
                    return one_by_one(records, with_partition)
                self._partitions += partitions
                return encoded
        return one_by_one(records, with_partition)

    async def close(self) -> None:
        """Close the connection. A write under way is cancelled."""
        if self._writing is not None and not self._writing.done():
            self._writing.cancel()
            await asyncio.wait({self._writing}, timeout=_LAST_WAIT_S)  # the client may forget a cancellation
        await self._publisher.close()
        self._published.close()


def _unusable(error: OSError) -> str:
    return f"the outbox {error.filename or ''} cannot be used: {error.strerror}"
