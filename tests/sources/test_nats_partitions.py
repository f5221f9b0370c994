"""The source `nats` with partitions: who reads what, from where on, and what is acknowledged.

Also about `jetstream/partition_reader.py`, `jetstream/partitions.py` and `jetstream/source_settings.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.components import framers
from streamd.core.ack import Status
from streamd.core.contracts import SourceContext
from streamd.core.counters import Counters
from streamd.core.errors import EnvironmentFault, SinkError
from streamd.core.frames import Frames
from streamd.core.tenure import Tenure
from streamd.jetstream.partition_reader import PartitionReader
from streamd.sources import nats
from streamd.sources.nats import Nats
from tests.nats_server import NatsServer, add_stream, api, needs_server, new_name, publish, shared_server

Until = Callable[[Callable[[], bool]], Awaitable[None]]

pytestmark = needs_server


class Worker:
    """The outlet of a source and the sinks behind it. It settles nothing by itself."""

    def __init__(self, source: Nats, database: set[str]) -> None:
        self.source = source
        self.frames: list[Frames] = []
        self.claimed: list[Tenure] = []
        self.released: list[Tenure] = []
        self.start = 0
        self.fault: SinkError | None = None
        self.goes_on = True
        self.database = database
        """The inputs that the sinks have had."""
        self.resume: Callable[[], None] = lambda: None
        downstream = source.context.downstream
        downstream.claim, downstream.release = self.claim, self.released.append

    async def claim(self, tenure: Tenure) -> int:
        if self.fault is not None:
            raise self.fault
        self.claimed.append(tenure)
        tenure.is_new = tenure.sequence not in self.database
        self.database.add(tenure.sequence)
        return self.start

    def offer(self, frames: Frames) -> bool:
        self.frames.append(frames)
        return self.goes_on

    def refuse(self, n: int, reason: str) -> None:
        raise AssertionError((n, reason))

    def ended(self, peer: Any) -> None:
        raise AssertionError(peer)

    def on_resume(self, callback: Callable[[], None]) -> None:
        self.resume = callback

    @property
    def payloads(self) -> list[str]:
        return [payload.decode() for frames in self.frames for payload in frames.payloads]

    def settle(self) -> None:
        for frames in self.frames:
            frames.settle(Status.DELIVERED)
        self.frames.clear()

    def number(self, name: str) -> int:
        return self.source.context.counters[name, ""]


def origin_of(frames: Frames) -> Any:
    """The part from which the frames of one message are."""
    assert frames.acks is not None
    ((_, ack),) = frames.acks.runs
    assert ack is not None
    return ack.origin


class Lab:
    """Workers on one stream with one partition, whose messages are `m1`, `m2`, …"""

    def __init__(self, server: NatsServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.stream = new_name()
        self.workers: list[Worker] = []
        self.database: set[str] = set()
        self._sent = 0

    async def worker(self, **more: Any) -> Worker:
        options: dict[str, Any] = {
            "type": "nats", "servers": [self.server.address], "stream": self.stream, "consumer": "w",
            "subject": f"{self.stream}.{{partition}}", "partitions": 1, "takeover": "30s",
        }  # fmt: skip
        config = Nats.Config.model_validate(options | more)
        context = SourceContext("lab", Counters(), framers(config.cut_by), self.folder, self.folder)
        self.workers.append(Worker(Nats(config, context), self.database))
        await self.workers[-1].source.open(self.workers[-1])
        return self.workers[-1]

    def send(self, count: int) -> list[str]:
        names = [f"m{self._sent + n + 1}" for n in range(count)]
        self._sent += count
        publish(self.server, f"{self.stream}.0", [f"{name}\n".encode() for name in names])
        return names

    async def info(self) -> dict[str, Any]:
        return await api(self.server, f"CONSUMER.INFO.{self.stream}.w-0")

    async def acknowledged(self, number: int) -> None:
        async with asyncio.timeout(30):
            while (await self.info())["ack_floor"]["stream_seq"] != number:
                await asyncio.sleep(0.02)

    async def unpin(self) -> None:
        await api(self.server, f"CONSUMER.UNPIN.{self.stream}.w-0", {"group": "streamd"})


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    made = Lab(shared_server(), tmp_path)
    await add_stream(made.server, made.stream, [f"{made.stream}.*"], retention="workqueue")
    yield made
    for worker in made.workers:
        await worker.source.stop()
        await worker.source.stop()


async def test_messages_come_in_order_after_the_claim_and_are_acknowledged_when_settled(
    lab: Lab, until: Until
) -> None:
    names = lab.send(100)
    worker = await lab.worker()
    await until(lambda: len(worker.payloads) == 100)
    assert worker.payloads == names
    (tenure,) = worker.claimed
    parts: list[Any] = [origin_of(frames) for frames in worker.frames]
    assert [part.number for part in parts] == list(range(1, 101))
    assert {part.tenure for part in parts} == {tenure}
    assert all(part.wall_s == frames.time(0) for part, frames in zip(parts, worker.frames, strict=True))
    assert tenure.sequence.startswith(f"{lab.stream}@2")
    assert tenure.sequence.endswith(f"/{lab.stream}.0")
    assert worker.source.context.counters.gauges["partitions_owned", ""] == 1
    worker.settle()
    await lab.acknowledged(100)


async def test_messages_of_a_partition_that_no_worker_would_read_are_refused(lab: Lab, until: Until) -> None:
    publish(lab.server, f"{lab.stream}.other", [b"no partition\n"])
    publish(lab.server, f"{lab.stream}.3", [b"m\n"])
    with pytest.raises(EnvironmentFault, match=r"\.3, which no worker reads with partitions = 3: set part"):
        await lab.worker(partitions=3)
    worker = await lab.worker(partitions=4)
    await until(lambda: worker.payloads == ["m"])
    worker.settle()


async def test_reading_begins_with_what_the_sinks_have_not_stored(lab: Lab, until: Until) -> None:
    lab.send(10)
    worker = await lab.worker()
    await until(lambda: len(worker.payloads) == 10)
    worker.start = 7
    worker.frames.clear()
    await lab.unpin()
    lab.send(1)
    await until(lambda: len(worker.claimed) == 2)
    await until(lambda: worker.payloads[-1:] == ["m11"])
    assert worker.payloads == ["m7", "m8", "m9", "m10", "m11"]
    assert worker.claimed[0].ended
    assert worker.released == [worker.claimed[0]]


async def test_a_worker_with_another_database_than_the_one_before_is_told_so(
    lab: Lab, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(nats.log, "error", lambda event, **more: told.append((event, more["stored"])))
    one = await lab.worker()
    lab.send(2)
    await until(lambda: len(one.payloads) == 2)
    one.settle()
    await lab.acknowledged(2)
    await one.source.stop()
    await one.source.stop()
    lab.send(1)
    same = await lab.worker()
    await until(lambda: same.payloads == ["m3"])
    assert told == []
    same.settle()
    await lab.acknowledged(3)
    await same.source.stop()
    await same.source.stop()
    lab.send(1)
    lab.database = set()
    other = await lab.worker()
    await until(lambda: other.payloads == ["m4"])
    other.settle()
    assert told == [("partition_stored_elsewhere", "messages up to 3")]


async def test_messages_wait_for_a_state_that_contains_them_and_come_whole_to_the_next_reader(
    lab: Lab, until: Until
) -> None:
    publish(lab.server, f"{lab.stream}.0", [b"a\nb\n", b"c\nd\ne\n", b"f\n"])
    options = {"framing": "newline"}
    first = await lab.worker(**options)
    first.source.context.downstream.keeps_state = True
    await until(lambda: len(first.payloads) == 6)
    first.settle()
    (tenure,) = first.claimed
    kept = first.source.context.downstream.on_kept
    assert kept is not None
    kept(tenure, 1)
    await lab.acknowledged(1)
    await first.source.stop()
    await first.source.stop()
    second = await lab.worker(**options)
    second.start = 2
    await until(lambda: len(second.payloads) == 4)
    assert second.payloads == ["c", "d", "e", "f"]
    assert origin_of(second.frames[0]).number == 2


async def test_a_worker_that_the_server_no_longer_takes_for_the_reader_ends_its_tenure(
    lab: Lab, until: Until
) -> None:
    lab.send(3)
    one = await lab.worker()
    await until(lambda: len(one.payloads) == 3)
    two = await lab.worker()
    (tenure,) = one.claimed
    await asyncio.wait_for(_waits(lab), 30)
    await lab.unpin()
    lab.send(2)
    await until(lambda: tenure.ended)
    assert one.released == [tenure]
    one.settle()
    await until(lambda: len(one.claimed) + len(two.claimed) == 2)
    reader = two if two.claimed else one
    await until(lambda: reader.payloads == ["m1", "m2", "m3", "m4", "m5"])
    assert (await lab.info())["ack_floor"]["stream_seq"] == 0, "what came after the end is not acknowledged"


async def _waits(lab: Lab) -> None:
    while not (await lab.info())["num_waiting"]:
        await asyncio.sleep(0.02)


async def test_a_tenure_that_a_sink_does_not_know_begins_anew(lab: Lab, until: Until) -> None:
    lab.send(2)
    worker = await lab.worker()
    await until(lambda: len(worker.payloads) == 2)
    worker.claimed[0].end("unknown")
    await until(lambda: len(worker.claimed) == 2)
    await until(lambda: worker.payloads == ["m1", "m2"] * 2)
    assert worker.number("partitions_gained") == 2
    assert worker.number("partitions_lost") == 1


async def test_a_sink_that_cannot_be_asked_leaves_the_partition_to_others(lab: Lab, until: Until) -> None:
    lab.send(2)
    one = await lab.worker()
    one.fault = SinkError("locked", "not now")
    two = await lab.worker()
    await until(lambda: bool(one.claimed or two.claimed))
    reader = two if two.claimed else one
    await until(lambda: reader.payloads == ["m1", "m2"])


async def test_a_full_buffer_keeps_the_partition_and_takes_no_messages(
    lab: Lab, until: Until, stays: Any
) -> None:
    workers = [await lab.worker(pull=1, takeover="2s") for _ in range(2)]
    for worker in workers:
        worker.goes_on = False
    lab.send(1)
    await until(lambda: ["m1"] in [worker.payloads for worker in workers])
    lab.send(5)
    async with asyncio.timeout(100):
        while not await _is_held(workers, stays):  # a machine may be too busy for two seconds
            pass
    (reader,) = [worker for worker in workers if _reads(worker)]
    assert "m6" not in reader.payloads
    reader.goes_on = True
    reader.resume()
    await until(lambda: reader.payloads[-1] == "m6")


async def _is_held(workers: list[Worker], stays: Any) -> bool:
    """Whether the partition stays with one worker for more than twice the time after which it would move."""
    before = [len(worker.claimed) for worker in workers]
    try:
        await stays(lambda: [len(worker.claimed) for worker in workers] == before, 5.0)
    except AssertionError:
        return False
    return True


def _reads(worker: Worker) -> bool:
    partitions: Any = worker.source._partitions
    return bool(partitions.readers[0].is_ours)


async def test_after_a_lost_connection_nothing_is_missing_and_nothing_comes_twice(
    lab: Lab, until: Until
) -> None:
    worker = await lab.worker(takeover="9s")  # the source notices it when it asks again, every 3 s
    partitions: Any = worker.source._partitions
    for turn in range(1, 4):
        lab.send(5)
        await until(partial(_has, worker, 5 * turn))
        connection = partitions._connection
        connection._client._transport.close()
        await until(partial(_is_another, partitions, connection))
    lab.send(1)
    await until(partial(_has, worker, 16))
    assert worker.payloads == [f"m{n}" for n in range(1, 17)]
    assert len(worker.claimed) == 1
    worker.settle()
    await lab.acknowledged(16)


async def test_deliveries_that_were_lost_are_noticed_though_nothing_follows_them(
    lab: Lab, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await lab.worker()
    lab.send(2)
    await until(partial(_has, worker, 2))
    lost: list[Any] = []

    async def lose(_: Any, connection: Any, message: Any) -> None:
        del connection
        lost.append(message)

    with monkeypatch.context() as patched:
        patched.setattr(PartitionReader, "_on", lose)
        lab.send(3)
        await until(lambda: len([message for message in lost if message.reply]) == 3)
    await until(partial(_has, worker, 5))
    assert worker.payloads == ["m1", "m2", "m3", "m4", "m5"]
    assert len(worker.claimed) == 1


def _has(worker: Worker, count: int) -> bool:
    return len(worker.payloads) >= count


def _is_another(partitions: Any, connection: Any) -> bool:
    return partitions._connection not in (None, connection)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"partitions": 2}, "a word of the subject"),
        ({"partitions": 2, "subject": "a.x{partition}"}, "a word of the subject"),
        ({"subject": "a.{partition}"}, "needs partitions"),
        ({"partitions": 2, "subject": "a.{partition}", "start": "beginning"}, "start has no effect"),
        ({"partitions": 2, "subject": "a.{partition}", "max_deliver": 3}, "max_deliver has no effect"),
        ({"partitions": 2, "subject": "a.{partition}", "ack_wait": "9s"}, "ack_wait has no effect"),
        ({"takeover": "5s"}, "takeover needs partitions"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(more: dict[str, Any], words: str) -> None:
    options = {"type": "nats", "servers": ["127.0.0.1:1"], "stream": "a", "consumer": "w"}
    with pytest.raises(ValidationError, match=words):
        Nats.Config.model_validate(options | more)
