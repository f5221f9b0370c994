"""Dead letters sent once more through the pipelines of the present configuration."""

import asyncio
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial

import structlog

from streamd import components
from streamd.closing_books import differences
from streamd.config import Loaded
from streamd.core.ack import Ack, Status
from streamd.core.clock import read_clock
from streamd.core.contracts import AnyCodec
from streamd.core.errors import EnvironmentFault, SinkError
from streamd.core.expression import Expression
from streamd.core.frames import Frames
from streamd.core.settings import BufferSettings
from streamd.core.shared import Shared
from streamd.core.sums import Entry
from streamd.dead_letters.dead_letters import DeadLetters
from streamd.ledger.ledger import Ledger
from streamd.replay.books import ReplayBooks, ReplayLedger
from streamd.replay.letters import WINDOW, KeptRecord, Letter, Origin, ReplayPlan, letters_of
from streamd.replay.lock import alone
from streamd.replay.outcome import Outcome
from streamd.replay.ways import pipelines_of, sinks_of, why_not
from streamd.runtime.backoff import Backoff
from streamd.runtime.delivery import Delivery
from streamd.runtime.fanout import Fanout, Output
from streamd.runtime.feed import Feed, Route
from streamd.runtime.intake import Intake
from streamd.runtime.pipeline import Pipeline
from streamd.runtime.stage import Stage
from streamd.runtime.worker import Workers
from streamd.sqlite.database import Database
from streamd.sqlite.databases import Databases

log = structlog.get_logger()

LETTERS_AT_ONCE = 1000
BYTES_AT_ONCE = 8 * 2**20
"""Letters under way at one time: what a crash can leave both stored and in the dead letters."""
STOP_PATIENCE_S = 1.0
"""How long a stop waits for the letters under way; those of a sink that cannot write now would never end."""
_NEVER = Expression("False")
"""The condition of sinks that have the record already; offered to them too, it leaves their books whole."""
_NO_JSON = "the record had no JSON"
_MEMORY_BYTES = 64 * 2**20
_UNBOUNDED = 2**62
_GONE = (Status.DELIVERED, Status.FILTERED, Status.REJECTED)
"""Fates after which the letter is deleted: where it was refused again, a new one is committed."""


class Replay:
    """One replay in a process of its own; a daemon may run meanwhile.

    A letter is deleted after its records are committed. A crash between the two leaves it in the dead
    letters, and the next replay stores its records a second time: at least once, and once where the sink
    has `unique`. A stop that leaves letters which some of their sinks have is such a crash to these.
    """

    def __init__(self, loaded: Loaded, plan: ReplayPlan) -> None:
        config = loaded.config
        self.loaded = loaded
        self.plan = plan
        self.outcome = Outcome()
        self.books = ReplayBooks()
        self.databases = Databases()
        # Letters that are refused again take the place of those they were: no bound may cost one of them.
        unbounded = {"rate": _UNBOUNDED, "burst": _UNBOUNDED, "max_size": _UNBOUNDED}
        self.dead_letters = DeadLetters(
            loaded.state_dir / config.dead_letters.path,
            config.dead_letters.model_copy(update=unbounded),
            self.databases,
            max_waiting_bytes=_MEMORY_BYTES,
            payloads={name: source.dead_letters.payload for name, source in config.sources.items()},
        )
        self.parts = components.make(loaded, self.dead_letters, Shared(self.databases), books=self.books)
        if self.parts.problems:
            raise loaded.error(self.parts.problems)
        self._deliveries = {name: self._delivery(name) for name in self.parts.sinks}
        self._delivering: list[asyncio.Task[None]] = []
        self._stopping = False
        self._over = asyncio.Event()
        """The fates of the letters under way are known, or a stop waits for them no longer."""

    def stop(self) -> None:
        """Finish what is under way and can be within `STOP_PATIENCE_S`, and leave the rest."""
        self._stopping = True
        asyncio.get_running_loop().call_later(STOP_PATIENCE_S, self._over.set)

    async def run(self, progress: Callable[[int], None]) -> Outcome:
        """Replay the plan; `progress` is called with the number of letters whose fate is known.

        Raises `EnvironmentFault`; one is that another replay of these letters is under way.
        """
        config = self.loaded.config
        async with AsyncExitStack() as closing:
            closing.enter_context(alone(self.dead_letters.path.parent))
            await self.dead_letters.open()
            closing.push_async_callback(self.dead_letters.close)
            store = await self.databases.acquire(self.dead_letters.path)
            closing.push_async_callback(self.databases.release, store)
            ledger_file = await self.databases.acquire(self.loaded.state_dir / config.ledger.path)
            closing.push_async_callback(self.databases.release, ledger_file)
            ledger = ReplayLedger(
                self.books,
                ledger_file,
                uuid.uuid4().hex[:12],
                config.ledger.interval,
                beside=self._beside,
            )
            await ledger.open()
            closing.push_async_callback(ledger.close)
            possible = await self._open_sinks(closing)
            try:
                async with asyncio.TaskGroup() as delivering:
                    self._delivering = [
                        delivering.create_task(delivery.run()) for delivery in self._deliveries.values()
                    ]
                    for origin in possible:
                        await self._send(origin, store, ledger, progress)
                    for delivery in self._deliveries.values():
                        delivery.buffer.close()
            except ExceptionGroup as group:
                faults, others = group.split((SinkError, sqlite3.Error))
                if others is not None:
                    raise
                raise EnvironmentFault(
                    f"cannot read the dead letters {store.path}: {_first(faults)}"
                ) from None
        self.outcome.unconfirmed = sum(sink["unconfirmed", ""] for sink in self.books.sinks.values())
        self.outcome.differences = differences(self.books)
        return self.outcome

    async def _open_sinks(self, closing: AsyncExitStack) -> list[Origin]:
        """Open the sinks wanted. The origins whose letters can go in; the others are entered with the reason.

        A sink that cannot be opened, like a file that the daemon is writing, keeps only its own letters here.
        """
        possible: list[Origin] = []
        shut: dict[str, str | None] = {}
        """Why a sink cannot be opened, or None where it is open."""
        for origin, count in self.plan.origins.items():
            reason = why_not(self.loaded, origin)
            for name in sinks_of(self.loaded, origin) if reason is None else ():
                if name not in shut:
                    shut[name] = await self._open_sink(name, closing)
                reason = reason or shut[name]
            if reason is None:
                possible.append(origin)
            else:
                self.outcome.impossible[reason] += count
        return possible

    async def _open_sink(self, name: str, closing: AsyncExitStack) -> str | None:
        try:
            await self.parts.sinks[name].open()
        except EnvironmentFault as fault:
            return str(fault)
        closing.push_async_callback(self.parts.sinks[name].close)
        return None

    async def _send(
        self, origin: Origin, store: Database, ledger: Ledger, progress: Callable[[int], None]
    ) -> None:
        """Replay all letters of one origin."""
        book = self.books.source(origin.source)
        intake = Intake(BufferSettings(), "block", book)
        codec: AnyCodec = KeptRecord(KeptRecord.Config(), None)
        if origin.kind == "frame":
            codec = self.parts.codecs[origin.source]
            codec.place_behind(streams=False, cut=False)  # a letter has nothing before it
        routes = [
            Route(self._pipeline(name, origin), self.books.pipeline(origin.source, name))
            for name in pipelines_of(self.loaded, origin)
        ]
        # One letter a batch, so that each has a fate of its own.
        feed = Feed(intake.buffer, codec, book, routes)
        workers = Workers([feed], self.dead_letters, read_clock, count=1, max_batch=1)
        async with asyncio.TaskGroup() as group:
            working = group.create_task(workers.run())
            last_id = 0
            while not self._stopping:
                rows = await store.fetch(
                    WINDOW.format(condition=self.plan.wanted.condition),
                    [*self.plan.wanted.parameters, last_id, self.plan.last_id, *origin,
                     LETTERS_AT_ONCE, BYTES_AT_ONCE],
                )  # fmt: skip
                if not rows or self._stopping:
                    break
                last_id = rows[-1][0]
                letters = letters_of(rows, origin.kind, self.plan.edited)
                self.outcome.impossible[_NO_JSON] += len(rows) - len(letters)
                fates = await self._fates(letters, intake, working)
                await _delete(store, [number for number, fate in fates.items() if fate in _GONE])
                self.outcome.fates.update(fates.values())
                await ledger.flush()
                progress(self.outcome.done)
            workers.close()

    async def _fates(
        self, letters: list[Letter], intake: Intake, working: asyncio.Task[None]
    ) -> dict[int, Status]:
        """Send the letters in, and return the fate of each by its number when all are known.

        After a stop it is that of those which had their end in time; the others count as dropped.
        """
        fates: dict[int, Status] = {}
        self._over.clear()

        def settled(number: int, fate: Status) -> None:
            fates[number] = fate
            if len(fates) == len(letters):
                self._over.set()

        for letter in letters:
            ack = Ack(partial(settled, letter.id))
            intake.offer(Frames.of([letter.payload], letter.peer, letter.received_at, ack=ack))
        if letters:
            await self._over.wait()
        if len(fates) < len(letters):
            # A commit under way has its last word here: what it stores must not stay in the dead letters.
            for task in (working, *self._delivering):
                task.cancel()
            await asyncio.wait((working, *self._delivering))
            self.books.abandon()
        return {letter.id: fates.get(letter.id, Status.DROPPED) for letter in letters}

    def _beside(self) -> Iterator[Entry]:
        """What the ledger holds beside the books."""
        yield from self.dead_letters.entries()

    def _pipeline(self, name: str, origin: Origin) -> Pipeline:
        """The pipeline with steps of its own state; where one sink refused the letters, to that one only."""
        outputs = [
            Output(
                sink,
                self._deliveries[sink].buffer,
                self.parts.conditions.get((name, sink)) if origin.sink in (None, sink) else _NEVER,
            )
            for sink in self.loaded.config.pipelines[name].sinks
        ]
        stages = [Stage(label, step) for label, step in self.parts.steps[name]]
        for stage in stages:
            stage.may_hold = False
        fanout = Fanout(outputs, self.books, self.dead_letters)
        return Pipeline(name, stages, fanout, self.dead_letters, read_clock, self.books)

    def _delivery(self, name: str) -> Delivery:
        settings = self.loaded.config.sinks[name]
        return Delivery(
            name,
            self.parts.sinks[name],
            settings.batch.model_copy(update={"max_wait": 0.0}),  # what is under way is all there will be
            settings.buffer.model_copy(update={"when_full": "block"}),  # letters can wait: none is dropped
            self.books,
            read_clock,
        )


def _first(faults: BaseException | None) -> BaseException | None:
    return _first(faults.exceptions[0]) if isinstance(faults, BaseExceptionGroup) else faults


async def _delete(letters: Database, numbers: list[int]) -> None:
    """Delete what has been committed elsewhere; tried until it succeeds, or the letters would come twice."""
    backoff = Backoff(most_s=1.0)
    while numbers:
        try:
            places = ", ".join("?" * len(numbers))
            await letters.execute(f"DELETE FROM dead_letters WHERE id IN ({places})", numbers)  # noqa: S608 - places
        except (SinkError, sqlite3.Error) as error:
            wait_s = backoff.next_s()
            log.warning("replayed_letters_not_deleted", why=str(error), retry_in_s=round(wait_s, 1))
            await asyncio.sleep(wait_s)
        else:
            return
