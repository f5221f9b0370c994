"""One pipeline: runs its steps on decoded batches and puts the results into the sinks' buffers."""

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import repeat
from typing import Any

from streamd.core.ack import Ack, Status
from streamd.core.acks import Acks
from streamd.core.batch import PEER, RECEIVED_AT, SOURCE, Batch, Record, peer_of, received_at_of
from streamd.core.books import TICK, Books, RecordBook
from streamd.core.clock import mono_of
from streamd.core.column import Column
from streamd.core.columns import FlatColumns
from streamd.core.contracts import BadRecord, Processed
from streamd.core.dead_letter import DeadLetter, DeadLetterStore
from streamd.core.hold import join_holds
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.timestamp import from_epoch
from streamd.runtime.fanout import Fanout
from streamd.runtime.meter import SharedMeter
from streamd.runtime.offload import Offloaded
from streamd.runtime.stage import Stage
from streamd.runtime.turn import Line, Turn

RECORD_BYTES, FIELD_BYTES = 232, 96
"""Approximate memory of a record and of each field, for records that were not made of a frame."""


class Pipeline:
    """The steps and sinks of one pipeline.

    Consecutive steps that do not wait run on a batch without interruption. A waiting step may have several
    batches under way. Each batch takes a place in the step's line before the next one can reach the step, so
    batches leave it in the order in which they came.
    """

    def __init__(
        self,
        name: str,
        stages: list[Stage],
        fanout: Fanout,
        dead_letters: DeadLetterStore,
        clock: Callable[[], Now],
        books: Books,
    ) -> None:
        self.name = name
        self.stages = stages
        self.fanout = fanout
        self.handed_on: list[Stage] = []
        """Steps that another pipeline has taken over; `close` does not close them."""
        self.line = Line()
        """The line before the first waiting step or the sinks, in the order of decoding."""
        self.meter = SharedMeter(clock().mono_s)
        """The meter of the workers, which set it."""
        self.on_ran: Callable[[], None] | None = None
        """Called whenever steps have run, because their deadlines may have changed."""
        self.flat_schemas: dict[str, Schema] = {}
        """The schema of each source whose typed records all sinks take. Batches of others get dicts."""
        self._dead_letters = dead_letters
        self._clock = clock
        self._mono_s = mono_of(clock)
        self._books = books

    @property
    def wants_dicts(self) -> bool:
        """Whether a step or a condition reads records, and not only columns of them."""
        if self.stages:
            return not self.stages[0].reads_columns
        return self.fanout.has_conditions

    @property
    def is_timed(self) -> bool:
        """Whether a step has deadlines."""
        return any(stage.step.is_timed for stage in self.stages)

    @property
    def concurrency(self) -> int:
        """The most batches that the waiting steps may have under way."""
        return sum(stage.offloaded.concurrency for stage in self.stages if stage.offloaded is not None)

    def enter(self, batch: Batch, book: RecordBook, now: Now) -> int:
        """Run the steps before the first waiting one; returns its index, for `carry`."""
        if self.stages and batch.records:
            if batch.fields is not None:
                return self._run(self._run_columns(batch, book, now), batch, book, now)
            batch.lift()
        return self._run(0, batch, book, now)

    def _run_columns(self, batch: Batch, book: RecordBook, now: Now) -> int:
        """Run the first steps on the columns of a flat batch; returns the index of the step after them.

        The batch stays flat if no step is left and the sinks take its values. Else it gets dicts.
        """
        parts = [FlatColumns(batch)]
        if batch.acks is not None:
            parts = [FlatColumns(batch.part(start, stop, None, 0)) for start, stop, _ in batch.acks]
        index = 0
        while any(map(len, parts)) and index < len(self.stages) and self.stages[index].reads_columns:
            stage = self.stages[index]
            acks = [None] if batch.acks is None else [ack for _, ack in batch.acks.runs]
            outcomes = list(map(stage.process_columns, parts, acks, repeat(now)))
            kept = self._book(stage, outcomes, batch, book)
            index += 1
            if any(done.columns is None for done in kept):
                batch.turn_into_dicts(
                    [
                        record
                        for done in kept
                        for record in (done.records if done.columns is None else done.columns.records())
                    ]
                )
                return index
            parts = [done.columns for done in kept if done.columns is not None]
        schema = self.flat_schemas.get(batch.source) if index == len(self.stages) else None
        if parts and schema is not None and all(part.fits(schema) for part in parts):
            batch.set_values(*_joined(parts))
        else:
            batch.turn_into_dicts([record for part in parts for record in part.records()])
        return index

    async def carry(self, batch: Batch, book: RecordBook, index: int, turn: Turn) -> None:
        """Run the steps from `index` on, including waiting ones, and put the batch into the sinks' buffers.

        `turn` is the batch's place in `line`. A batch always holds one turn, so no other batch overtakes it.
        `meter` counts the batch as processed when this is called, and again when it returns.
        """
        try:
            if turn.waits:
                await self._wait(turn, self.meter, worked_on=True)
                self.meter.begin(self._mono_s())
            while batch.records and (offloaded := self._waiting_at(index)) is not None:
                place = offloaded.line.join()
                turn.leave()
                turn = place
                done = await self._offload(self.stages[index], offloaded, batch)
                await self._wait(turn, offloaded.meter)
                self.meter.begin(self._mono_s())
                batch.records = _records(self._book(self.stages[index], done, batch, book))
                index = self._run(index + 1, batch, book, self._clock())
            if batch.records:
                self.meter.left += len(batch)
                self.fanout.put(batch, book)
            else:
                batch.settle(Status.FILTERED)
        except asyncio.CancelledError:  # the drain ran out of time; its code counts the records as dropped
            batch.settle(Status.DROPPED)
            raise
        finally:
            turn.leave()

    async def _offload(self, stage: Stage, offloaded: Offloaded, batch: Batch) -> list[Processed]:
        """Let a waiting step process the parts of the batch, one after the other, or together by key."""
        offloaded.meter.entered += len(batch)
        self.meter.end(self._clock().mono_s)
        entries = []
        calls = []
        for records, ack in _parts(batch):
            entries.append(offloaded.enter())  # now, so that no later batch comes between two parts
            calls.append(partial(self._offload_part, stage, offloaded.meter, records, ack, entries[-1]))
        try:
            if len(calls) == 1 or not offloaded.by_key:
                return [await call() for call in calls]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(call()) for call in calls]
            return [task.result() for task in tasks]
        finally:
            for entry in entries:
                if entry is not None:
                    entry.leave()

    async def _offload_part(
        self, stage: Stage, meter: SharedMeter, records: list[Record], ack: Ack | None, entry: Turn | None
    ) -> Processed:
        """Process one part. Until it has a slot, its time counts for the workers."""
        now = self._clock()
        waits = True

        def begin() -> None:
            nonlocal waits
            waits = False
            mono_s = self._mono_s()
            self.meter.release(mono_s)
            meter.begin(mono_s)

        self.meter.hold(now.mono_s)
        try:
            done = await stage.process_waiting(records, ack, now, begin, entry)
        finally:
            mono_s = self._mono_s()
            if waits:
                self.meter.release(mono_s)
            else:
                meter.end(mono_s)
        meter.left += len(done.records)
        return done

    async def _wait(self, turn: Turn, meter: SharedMeter, *, worked_on: bool = False) -> None:
        """Wait until the batches before have passed; `meter` counts this one as waiting meanwhile.

        `worked_on`: whether `meter` has counted the batch as processed before.
        """
        mono_s = self._mono_s()
        meter.hold(mono_s)
        if worked_on:
            meter.end(mono_s)
        try:
            await turn.come()
        finally:
            meter.release(self._mono_s())

    async def tick(self, index: int) -> int:
        """Tick the step at `index` and carry on its records; returns their number.

        In the line, these records follow the last batch that the step has processed.
        """
        stage = self.stages[index]
        book = self._books.pipeline(TICK, self.name)
        meter = self.meter
        turn: Turn | None = None
        now = self._clock()
        if stage.offloaded is not None:
            meter = stage.offloaded.meter
            turn = stage.offloaded.line.join()
        meter.begin(now.mono_s)
        try:
            try:
                done = await stage.tick(now)
            except asyncio.CancelledError:
                meter.end(self._mono_s())
                raise
            if turn is not None:
                await self._wait(turn, meter, worked_on=True)
                meter = self.meter
                meter.begin(self._mono_s())
            made = done.emitted = len(done.records) + done.filtered + done.absorbed + len(done.rejects)
            batch = _made(done.records, self.name, now)
            batch.records = _records(self._book(stage, [done], batch, book))
            following = self._run(index + 1, batch, book, now)
            if turn is None:
                waits_before = any(before.offloaded is not None for before in self.stages[:index])
                turn = Turn(None) if waits_before else self.line.join()
            await self.carry(batch, book, following, turn)
            meter.end(self._mono_s())  # if it was cancelled while waiting, it has ended already
        finally:
            if turn is not None:
                turn.leave()
        return made

    async def close(self) -> None:
        """End the running calls of the steps, and close the steps."""
        for stage in self.stages:
            if stage not in self.handed_on:
                await stage.close()

    def _waiting_at(self, index: int) -> Offloaded | None:
        """The waiting step at `index`; None behind the last step."""
        return self.stages[index].offloaded if index < len(self.stages) else None

    def _run(self, index: int, batch: Batch, book: RecordBook, now: Now) -> int:
        """Run the steps from `index` up to the next waiting one; returns its index."""
        while index < len(self.stages) and batch.records:
            stage = self.stages[index]
            if stage.offloaded is not None:
                break
            outcomes = [stage.process(records, ack, now) for records, ack in _parts(batch)]
            batch.records = _records(self._book(stage, outcomes, batch, book))
            index += 1
        if self.on_ran is not None:
            self.on_ran()
        return index

    def _book(
        self, stage: Stage, outcomes: list[Processed], batch: Batch, book: RecordBook
    ) -> list[Processed]:
        """Count the results of the step for each part of the batch, and give their acks to the batch.

        Returns the results with records, or the only one.
        """
        for done in outcomes:
            book.emitted += done.emitted
            book.filtered += done.filtered
            book.absorbed += done.absorbed
            for failure in done.failures:
                stage.log.log_failure(self.name, stage.name, failure)
        if stage.tap is not None:
            stage.tap.see_processed(outcomes)
        if batch.acks is None:
            (done,) = outcomes
            if done.rejects:
                self._reject(stage, done.rejects, batch, book, None)
            if done.holds:
                batch.acks = Acks.same(join_holds(None, done.holds), done.count)
            return outcomes
        return self._book_by_ack(stage, outcomes, batch, batch.acks, book)

    def _book_by_ack(
        self, stage: Stage, outcomes: list[Processed], batch: Batch, acks: Acks, book: RecordBook
    ) -> list[Processed]:
        kept: list[Processed] = []
        runs: list[tuple[int, Ack | None]] = []
        for done, (_, ack) in zip(outcomes, acks.runs, strict=True):
            if done.rejects:
                self._reject(stage, done.rejects, batch, book, ack)
            its = join_holds(ack, done.holds) if done.holds else ack
            if done.count:
                kept.append(done)
                runs.append((done.count, its))
            elif its is not None:  # the holds of absorbed records report their fate
                its.settle(Status.DELIVERED if done.absorbed else Status.FILTERED)
        batch.acks = Acks(runs) if runs else None
        return kept

    def _reject(
        self, stage: Stage, rejects: list[BadRecord], batch: Batch, book: RecordBook, ack: Ack | None
    ) -> None:
        book.rejected[stage.name] += len(rejects)
        stage.log.log_rejects(self.name, stage.name, rejects)
        letters = [
            DeadLetter(
                bad.record,
                stage.name,
                bad.reason,
                bad.detail,
                source=batch.source,
                peer=peer_of(bad.record),
                received_at=received_at_of(bad.record, batch.first_received_at),
                pipeline=self.name,
                rules=bad.rules,
            )
            for bad in rejects
        ]
        self._dead_letters.keep(letters, Acks.same(ack and ack.fork(), len(letters)))


def _records(outcomes: list[Processed]) -> list[Record]:
    if len(outcomes) == 1:
        return outcomes[0].records
    return [record for done in outcomes for record in done.records]


def _joined(parts: list[FlatColumns]) -> tuple[list[Any], Column[str], Column[float]]:
    """The values, senders and times of the records of all parts."""
    if len(parts) == 1:
        return parts[0].values(), parts[0].peers, parts[0].received_at
    return (
        [value for part in parts for value in part.values()],
        Column.merge([(part.peers, len(part)) for part in parts]),
        Column.merge([(part.received_at, len(part)) for part in parts]),
    )


def _parts(batch: Batch) -> list[tuple[list[Record], Ack | None]]:
    """The records of each ack. The step processes them separately, so each result belongs to one ack."""
    if batch.acks is None:
        return [(batch.records, None)]
    return [(batch.records[start:stop], ack) for start, stop, ack in batch.acks]


def _made(records: list[Record], pipeline: str, now: Now) -> Batch:
    """A batch of records that `tick` made. Metadata that they already have is kept."""
    at = from_epoch(now.wall_s)
    for record in records:
        record.setdefault(SOURCE, TICK)
        record.setdefault(PEER, None)
        record.setdefault(RECEIVED_AT, at)
    size_bytes = sum(RECORD_BYTES + FIELD_BYTES * len(record) for record in records)
    return Batch.of(records, TICK, pipeline, "", now.wall_s, lifted=True, size_bytes=size_bytes)
