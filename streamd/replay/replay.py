"""Sends dead letters through the pipelines of the current configuration again."""

import asyncio
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
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
from streamd.dead_letters.dead_letters import DeadLetters
from streamd.ledger.ledger import Ledger
from streamd.replay.books import ReplayBooks, ReplayLedger
from streamd.replay.kept import KeepingPipeline, Kept
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
"""The limit of letters under way. A crash can leave this many both stored and in the dead letters."""
LOOK_S = 0.02
"""How often to look whether only the codec or steps keep the letters under way, which nothing else tells."""
STOP_PATIENCE_S = 1.0
"""How long a stop waits for letters under way. A failing sink might never finish its letters."""
_NEVER = Expression("False")
"""The condition for sinks that have the record already. They filter it, so their books balance."""
_NO_JSON = "the record had no JSON"
_MEMORY_BYTES = 64 * 2**20
_UNBOUNDED = 2**62
_GONE = (Status.DELIVERED, Status.FILTERED, Status.REJECTED)
"""Fates after which the letter is deleted. After another rejection a new letter has been committed."""


class Replay:
    """One replay in its own process. A daemon may run at the same time.

    A letter is deleted after its records are committed. A crash between the two leaves the letter in the
    dead letters, and the next replay stores its records a second time. Records are therefore stored at least
    once, and exactly once if the sink has `unique`. A stop has the same effect on a letter that only some of
    its sinks have stored.

    If a step keeps records of a letter, the letter stays until what the step makes of them is committed. A
    replay stores no state: what a step still keeps at the end is lost, so these letters stay.
    """

    def __init__(self, loaded: Loaded, plan: ReplayPlan) -> None:
        config = loaded.config
        self.loaded = loaded
        self.plan = plan
        self.outcome = Outcome()
        self.books = ReplayBooks()
        self.databases = Databases()
        # A letter that is refused again replaces the old one, so no limit may discard it.
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
        self._redactions = {name: components.redaction_of(loaded, name) for name in config.sources}
        self._deliveries = {name: self._delivery(name) for name in self.parts.sinks}
        self._delivering: list[asyncio.Task[None]] = []
        self._stopping = False
        self._under_way: set[int] = set()
        """The ids of letters whose fate is not known yet."""
        self._fates: dict[int, Status] = {}
        """Of letters that are not deleted and not in the outcome yet."""
        self._over = asyncio.Event()
        """Set when the fates of the letters under way are known, or a stop no longer waits for them."""
        self._gives_up = False

    def stop(self) -> None:
        """Wait up to `STOP_PATIENCE_S` for the letters under way, and leave the rest in the dead letters."""
        self._stopping = True
        asyncio.get_running_loop().call_later(STOP_PATIENCE_S, self._give_up)

    def _give_up(self) -> None:
        self._gives_up = True
        self._over.set()

    async def run(self, progress: Callable[[int], None]) -> Outcome:
        """Replay the plan. `progress` is called with the number of letters whose fate is known.

        Raises `EnvironmentFault`, also if another replay of these letters is under way.
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
                more_entries=self.dead_letters.entries,
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
        """Open the sinks of the plan. Returns the origins whose letters can be sent.

        The letters of other origins are counted as impossible with their reason. A sink that cannot be
        opened, such as a file that the daemon writes, prevents only the letters of its own origins.
        """
        possible: list[Origin] = []
        shut: dict[str, str | None] = {}  # sink → the reason why it cannot be opened, None if it is open
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
            redaction = self._redactions.get(origin.source)
            codec.redacted = redaction is not None and redaction.changes_records
        kept = Kept()
        routes = [
            Route(self._pipeline(name, origin, kept), self.books.pipeline(origin.source, name))
            for name in pipelines_of(self.loaded, origin)
        ]
        await kept.begin(route.pipeline for route in routes)
        # Each batch has one letter, so that each letter has its own fate.
        feed = Feed(intake.buffer, codec, book, routes, redaction=self._redactions.get(origin.source))
        workers = Workers([feed], self.dead_letters, read_clock, count=1, max_batch=1)
        workers.on_end = kept.look

        def only_kept() -> bool:
            if intake.buffer.records or workers.gate.under_way or self._pending:
                return False
            return book.held > 0 or not kept.is_empty  # a part of a message waits for others behind it

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
                self._offer(letters, intake, kept)
                await self._wait(only_kept, working)
                await self._enter(store, ledger, progress)
            workers.close()
            if self._under_way:
                await asyncio.wait({working})
                while self._pending and not self._gives_up:
                    await asyncio.sleep(LOOK_S)
                if not self._pending:
                    kept.settle()
                await self._wait(lambda: False, working)
                await self._enter(store, ledger, progress)

    @property
    def _pending(self) -> int:
        """Records that no sink has committed yet."""
        return sum(book.pending for book in self.books.deliveries.values())

    def _offer(self, letters: list[Letter], intake: Intake, kept: Kept) -> None:
        def settled(number: int, fate: Status) -> None:
            if number not in self._under_way:
                return  # it was given up
            self._under_way.discard(number)
            if kept.holder:
                self.outcome.held[kept.holder] += 1
            else:
                self._fates[number] = fate
            if not self._under_way:
                self._over.set()

        self._under_way.update(letter.id for letter in letters)
        for letter in letters:
            ack = Ack(partial(settled, letter.id))
            intake.offer(Frames.of([letter.payload], letter.peer, letter.received_at, ack=ack))

    async def _wait(self, only_kept: Callable[[], bool], working: asyncio.Task[None]) -> None:
        """Wait for the fates of the letters under way, but for those that the codec or a step keeps.

        After a stop, letters that were not finished in time count as dropped.
        """
        while self._under_way and not self._gives_up and not only_kept():
            self._over.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._over.wait()
        if self._under_way and self._gives_up:
            # A commit under way may still succeed here, and its letters must not stay in the dead letters.
            for task in (working, *self._delivering):
                task.cancel()
            await asyncio.wait((working, *self._delivering))
            self.books.abandon()
            self._fates.update(dict.fromkeys(self._under_way, Status.DROPPED))
            self._under_way.clear()

    async def _enter(self, store: Database, ledger: Ledger, progress: Callable[[int], None]) -> None:
        """Delete the letters that are gone, and enter the fates that are known."""
        fates, self._fates = self._fates, {}
        await _delete(store, [number for number, fate in fates.items() if fate in _GONE])
        self.outcome.fates.update(fates.values())
        await ledger.flush()
        progress(self.outcome.done)

    def _pipeline(self, name: str, origin: Origin, kept: Kept) -> Pipeline:
        """The pipeline with fresh steps. If only one sink refused the letters, they go to that sink only."""
        outputs = [
            Output(
                sink,
                self._deliveries[sink].buffer,
                self.parts.conditions.get((name, sink)) if origin.sink in (None, sink) else _NEVER,
            )
            for sink in self.loaded.config.pipelines[name].sinks
        ]
        stages = [Stage(label, step) for label, step in self.parts.steps[name]]
        fanout = Fanout(outputs, self.books, self.dead_letters)
        pipeline = KeepingPipeline(name, stages, fanout, self.dead_letters, read_clock, self.books)
        pipeline.kept = kept
        return pipeline

    def _delivery(self, name: str) -> Delivery:
        settings = self.loaded.config.sinks[name]
        return Delivery(
            name,
            self.parts.sinks[name],
            settings.batch.model_copy(update={"max_wait": 0.0}),  # no more letters follow, so no wait
            settings.buffer.model_copy(update={"when_full": "block"}),  # letters can wait, so none is dropped
            self.books,
            read_clock,
        )


def _first(faults: BaseException | None) -> BaseException | None:
    return _first(faults.exceptions[0]) if isinstance(faults, BaseExceptionGroup) else faults


async def _delete(letters: Database, numbers: list[int]) -> None:
    """Delete letters whose records are committed. Retries until it succeeds, so none is replayed twice."""
    backoff = Backoff(most_s=1.0)
    while numbers:
        try:
            places = ", ".join("?" * len(numbers))
            await letters.execute(f"DELETE FROM dead_letters WHERE id IN ({places})", numbers)  # noqa: S608 - placeholders
        except (SinkError, sqlite3.Error) as error:
            wait_s = backoff.next_s()
            log.warning("replayed_letters_not_deleted", why=str(error), retry_in_s=round(wait_s, 1))
            await asyncio.sleep(wait_s)
        else:
            return
