"""The cost of the stages' meters for each batch, as a share of the batch's whole cost."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamd.bench.plan import Plan
from streamd.bench.row import BenchError, Row
from streamd.codecs.json import Json
from streamd.core.acks import Acks
from streamd.core.batch import Batch
from streamd.core.books import Books
from streamd.core.clock import mono_of, read_clock
from streamd.core.contracts import Sink, SinkContext, Written
from streamd.core.dead_letter import DeadLetter
from streamd.core.frames import Frames
from streamd.core.settings import BatchSettings, BufferSettings
from streamd.core.shared import Shared
from streamd.runtime.delivery import Delivery
from streamd.runtime.fanout import Fanout, Output
from streamd.runtime.feed import Feed, Route
from streamd.runtime.intake import Intake
from streamd.runtime.meter import Meter, SharedMeter
from streamd.runtime.pipeline import Pipeline
from streamd.runtime.worker import Workers
from streamd.sensors import SensorStream

GOAL_PERCENT = 1.0
READ = 512
"""Frames in a read of a busy source: 64 KiB of a stream, or the datagrams of one system call."""
TURNS = 3


def measure(plan: Plan) -> list[Row]:
    """The CPU time of the meters of source, workers and sink, divided by that of the whole batch."""
    plan.step("meter")
    meters_us = min(_meters_us(plan.meter_batches) for _ in range(TURNS))
    full_us, alone_us = (
        min(asyncio.run(_batch_us(plan.meter_records // frames, frames)) for _ in range(TURNS))
        for frames in (READ, 1)
    )
    share, alone_share = (meters_us / batch_us * 100 for batch_us in (full_us, alone_us))
    return [
        Row(
            name="meter",
            what="Time of the stages, in the CPU of a record",
            value=share,
            unit="%",
            note=f"{meters_us:.2f} µs a batch of {READ} records, which takes {full_us:,.0f} µs from the"
            f" source's buffer to a sink that discards it; a batch of one record takes {alone_us:.0f}"
            f" µs there ({alone_share:.1f} %), and several times that with its socket and its commit",
            goal=f"≤ {GOAL_PERCENT:g} %",
            reached=share <= GOAL_PERCENT if plan.judge else None,
            details={"meters_us": meters_us, "batch_us": full_us, "batch_of_one_us": alone_us},
        )
    ]


def _meters_us(batches: int) -> float:
    """The cost of the changes of state by a batch if all stages are idle before and after it, the maximum."""
    mono_s = mono_of(read_clock)
    began_mono_s = mono_s()
    intake, workers, delivery = Meter(began_mono_s), SharedMeter(began_mono_s), Meter(began_mono_s)
    started_s = time.process_time()
    for _ in range(batches):
        intake.entered += READ
        intake.to("busy", mono_s())
        began_mono_s = mono_s()
        workers.begin(began_mono_s)
        workers.entered += READ
        intake.left += READ
        intake.to("idle", began_mono_s)
        workers.left += READ
        workers.end(mono_s(), backlog=False)
        delivery.to("busy", began_mono_s)
        delivery.entered += READ
        delivery.to("idle", began_mono_s)
        delivery.left += READ
    return (time.process_time() - started_s) / batches * 1e6


async def _batch_us(batches: int, frames: int) -> float:
    """The CPU time of a batch from the source's buffer through the workers to a sink that discards it."""
    books, office = Books(), _NoDeadLetters()
    sink = _Discard(None, SinkContext("nothing", {}, Path(), office, Shared()))
    delivery = Delivery("nothing", sink, BatchSettings(), BufferSettings(), books, read_clock)
    fanout = Fanout([Output("nothing", delivery.buffer)], books, office)
    route = Route(Pipeline("p", [], fanout, office, read_clock, books), books.pipeline("s", "p"))
    intake = Intake(BufferSettings(), "block", books.source("s"))
    feed = Feed(intake.buffer, Json(Json.Config(), None), intake.book, [route], taken=intake.taken)
    workers = Workers([feed], office, read_clock, count=1, max_batch=1024)
    tasks = [asyncio.create_task(workers.run()), asyncio.create_task(delivery.run())]
    lines = SensorStream().lines(max(batches, 1) * frames)
    await asyncio.sleep(0)
    started_s = time.process_time()
    for at in range(0, len(lines), frames):
        intake.offer(Frames.of(lines[at : at + frames], "127.0.0.1:5", 1e9))
        while intake.buffer.records:
            await asyncio.sleep(0)
    took_s = time.process_time() - started_s
    workers.close()
    await tasks[0]
    delivery.buffer.close()
    await tasks[1]
    stored = books.delivery("s", "p", "nothing").stored
    if stored != len(lines):
        raise BenchError(f"{stored} records of {len(lines)} came through")
    return took_s / batches * 1e6


class _Discard(Sink[Any]):
    async def open(self) -> None: ...

    def rehearse(self) -> list[str]:
        return []

    async def close(self) -> None: ...

    async def write(self, batches: Sequence[Batch]) -> Written:
        return Written.whole(len(batches))


class _NoDeadLetters:
    def keep(self, letters: list[DeadLetter], acks: Acks | None = None) -> None: ...

    async def commit(self, letters: list[DeadLetter]) -> None: ...
