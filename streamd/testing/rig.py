"""Runs a whole configuration on a virtual clock, without sockets, and with outputs in a folder of its own."""

import math
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from streamd import components
from streamd.assembly import Assembly, assemble
from streamd.config import Loaded
from streamd.core.books import Books
from streamd.core.contracts import AnyCodec, AnyFramer, Decoded, Step
from streamd.core.dead_letter import LetterList
from streamd.core.errors import StreamdError
from streamd.core.frames import Frames
from streamd.core.peer import Peer
from streamd.core.settings import SourceSettings
from streamd.core.shared import Shared
from streamd.core.timestamp import from_epoch
from streamd.functions.modules import forget_spaces
from streamd.reload.changes import keep_schemas, refuse_fixed
from streamd.runtime.feed import Feed
from streamd.runtime.pipeline import Pipeline
from streamd.runtime.stage import Stage
from streamd.runtime.ticker import IDLE_S
from streamd.runtime.worker import Workers
from streamd.sqlite.databases import Databases
from streamd.state.key import StateKey, key_of
from streamd.testing.clock import VirtualClock
from streamd.testing.connection import SentConnection, send_datagram
from streamd.testing.prepared import prepared
from streamd.trial.output import TrialOutput

PEERS = {"unix": "pid=1,uid=0,gid=0", "generate": "generate"}
"""The default sender by type of source; a `file` source has its path."""
PEER = "192.0.2.1:5000"
"""The default sender of other sources, in a network that is reserved for examples."""
MOST_TIMERS = 100_000
"""After so many timers one step forward in time has failed: some timer never ends."""

States = dict[StateKey, list[bytes]]


class CaseFault(StreamdError):  # noqa: N818 - the test is wrong or stuck, not the program
    """The test cannot go on; the text says why."""


class _TimerDue(NamedTuple):
    mono_s: float
    order: int
    act: Callable[[], Awaitable[None]]


class Rig:
    """The components of a configuration without its sources, driven by a test.

    After each input, every record is on its way through: the sinks have committed it, or a step or a codec
    holds it. So nothing ever happens at the same time, and each run of a test has the same outcome.
    """

    def __init__(
        self, loaded: Loaded, folder: Path, clock: VirtualClock, *, may_be_killed: bool = False
    ) -> None:
        """All outputs are below `folder`. With `may_be_killed`, states are stored as often as by a daemon."""
        self.clock = clock
        self.books = Books()
        self.letters = LetterList()
        self.outputs: dict[str, TrialOutput] = {}
        self.unfinished: dict[str, int] = {}
        """By `file` source: bytes at its end that are no whole frame."""
        self._folder = folder
        self._written = dict(loaded.config.sinks)
        self._loaded = prepared(loaded, folder)
        self._shared = Shared()
        self._parts = Assembly()
        self._connections: dict[tuple[str, str], SentConnection] = {}
        self._stored: States = {}
        self._stores = may_be_killed
        self._next_store_mono_s = math.inf
        self._not_before_mono_s: dict[Stage, float] = {}

    async def start(self, states: States | None = None) -> None:
        """Make and open all components. Raises `ConfigError` and `EnvironmentFault`."""
        forget_spaces()
        self._not_before_mono_s.clear()
        self._shared = Shared(Databases())
        self._parts = assemble(self._loaded, self.books, self.letters, self._shared, self.clock, None)
        for name, pipeline in self._loaded.config.pipelines.items():
            self.books.connect(name, pipeline.sinks)
        await self._open_sinks(list(self._parts.sinks))
        await self._open_steps(self._stages(), states or {})
        self._count_connections()
        self._next_store_mono_s = self._after_interval() if self._stores else math.inf

    async def reload(self, loaded: Loaded) -> None:
        """Apply another configuration as a reload does. Raises `ConfigError` and `EnvironmentFault`."""
        before, old = self._loaded, self._parts
        after = prepared(loaded, self._folder)
        self._written |= loaded.config.sinks
        refuse_fixed(before, after)
        keep_schemas(before, after)
        new = assemble(after, self.books, self.letters, self._shared, self.clock, None, (before, old))
        for source, peer in list(self._connections):
            if source not in after.config.sources:
                await self.close(source, peer)
        old_steps = {stage.step for stage in self._stages()}
        states = await self._retire(old, new)
        self._loaded, self._parts = after, new
        await self._open_sinks([name for name, sink in new.sinks.items() if old.sinks.get(name) is not sink])
        await self._open_steps([stage for stage in self._stages() if stage.step not in old_steps], states)
        for name, pipeline_settings in after.config.pipelines.items():
            self.books.connect(name, pipeline_settings.sinks)
        self._count_connections()
        await self._work()

    async def _retire(self, old: Assembly, new: Assembly) -> States:
        """Finish what the next assembly does not take over. Returns the states of the steps that end."""
        feeds = [feed for workers in new.workers.values() for feed in workers.feeds]
        kept_codecs = [feed.before or feed.codec for feed in feeds]
        kept_steps = {stage.step for pipeline in new.pipelines.values() for stage in pipeline.stages}
        for workers in old.workers.values():
            for pipeline in workers.pipelines:
                pipeline.handed_on = [stage for stage in pipeline.stages if stage.step in kept_steps]
            await self._finish(workers, kept_codecs)
        states = await self._states(but=kept_steps)
        for pipeline in old.pipelines.values():
            await pipeline.close()
        for feed in feeds:
            if feed.before is not None:
                feed.codec.adopt(feed.before)
        for name, sink in old.sinks.items():
            if new.sinks.get(name) is not sink:
                await sink.close()
        return states

    async def send(self, source: str, peer: str | None, data: bytes, *, is_text: bool) -> None:
        """Let a source receive bytes now."""
        settings = self._loaded.config.sources[source]
        intake = self._parts.intakes[source]
        sender = self._peer(settings, peer)
        if settings.streams:
            connection = self._connection(source, sender)
            end = connection.delimiter
            if is_text and end and not data.endswith(end):
                data += end
            connection.send(data, self.clock.wall_s)
            if connection.is_broken and settings.type != "file":
                await self.close(source, peer)
        else:
            framers = components.framers(settings.cut_by)
            send_datagram(data, sender, self.clock.wall_s, source, framers, intake)
        await self._work()

    async def enter(self, source: str, peer: str | None, records: list[dict[str, object]]) -> None:
        """Let records enter the pipelines of a source behind its codec now."""
        settings = self._loaded.config.sources[source]
        schema = self._loaded.schemas.get(settings.schema_name or "")
        sender = Peer(self._peer(settings, peer))
        frames = Frames.of([b""] * len(records), sender, self.clock.wall_s)
        made = [dict(record) if schema is None else schema.check(record) for record in records]
        self._parts.intakes[source].book.received += len(records)
        workers, feed = self._feed(source)
        await workers.hand_on(feed, frames, Decoded(made))
        await self._work()

    async def close(self, source: str, peer: str | None) -> None:
        """End the connection of a sender. A connection that does not exist stays so."""
        key = (source, self._peer(self._loaded.config.sources[source], peer))
        connection = self._connections.pop(key, None)
        if connection is not None:
            connection.end(self.clock.wall_s)
            await self._work()

    async def advance_to(self, wall_s: float) -> None:
        """Let time pass up to `wall_s`; every timer acts at its own time."""
        for _ in range(MOST_TIMERS):
            due = self._next_due()
            if due is None or self.clock.wall_at(due.mono_s) > wall_s:
                self.clock.move_to(wall_s)
                return
            self.clock.move_to(self.clock.wall_at(due.mono_s))
            await due.act()
        raise CaseFault(f"after {MOST_TIMERS:,} timers, time still stands at {from_epoch(self.clock.wall_s)}")

    async def drain(self) -> None:
        """Let time pass from timer to timer until there is none."""
        for _ in range(MOST_TIMERS):
            due = self._next_due(stores=False)
            if due is None:
                return
            await self.advance_to(self.clock.wall_at(due.mono_s))
        raise CaseFault(
            f'until = "drain": after {MOST_TIMERS:,} timers there is always another one:'
            ' a step acts regularly, so write advance = "…" instead'
        )

    async def restart(self) -> None:
        """Stop as a daemon does at SIGTERM, and start again."""
        states = await self.stop()
        for connection in self._connections.values():
            connection.mark()
        self.clock.begin_anew()
        await self.start(states)
        await self._read_again()

    async def kill(self) -> None:
        """Lose everything since the states were stored, and start again."""
        sources = self._loaded.config.sources
        for name, book in self.books.frames.items():
            held, book.held = book.held, 0
            if not held:
                continue
            if not self._feed(name)[1].codec.holds_open:  # their content is not needed again
                book.decoded += held
            elif sources[name].type == "file":  # they are read again
                book.received -= held
            else:
                book.dropped["kill"] += held
        await self._shut()
        self._connections = {
            key: connection for key, connection in self._connections.items() if sources[key[0]].type == "file"
        }
        self.clock.begin_anew()
        await self.start(self._stored)
        await self._read_again()

    async def stop(self) -> States:
        """Finish everything as at a clean stop, and close. Returns the states of the steps."""
        for (source, peer), connection in list(self._connections.items()):
            if self._loaded.config.sources[source].type == "file":
                self.unfinished[source] = connection.unfinished_bytes
            else:
                await self.close(source, peer)
        for workers in self._parts.workers.values():
            await self._finish(workers, ())
        states = await self._states()
        await self._shut()
        return states

    async def _finish(self, workers: Workers, kept: Collection[AnyCodec]) -> None:
        """Let codecs that are not kept release their frames, and tick steps that would lose their records."""
        for feed in list(workers.unfinished):
            if feed.codec not in kept:
                await workers.work_on(feed)
                await self._flush()
        for pipeline in workers.pipelines:
            for index, stage in enumerate(pipeline.stages):
                if stage.step.is_timed and not stage.step.is_stateful and stage not in pipeline.handed_on:
                    while await pipeline.tick(index) and _is_due(stage, self.clock.mono_s):
                        await self._flush()
                    await self._flush()

    async def abandon(self) -> None:
        """Close everything after a fault."""
        await self._shut()

    async def _shut(self) -> None:
        for pipeline in self._parts.pipelines.values():
            await pipeline.close()
        for sink in self._parts.sinks.values():
            await sink.close()
        self._parts = Assembly()

    async def _open_sinks(self, names: list[str]) -> None:
        for name in names:
            output = TrialOutput(name, self._written[name], self._folder / name)
            (self._folder / name).mkdir(exist_ok=True)
            await self._parts.sinks[name].open()
            if name in self.outputs:
                output.skip_as(self.outputs[name])
            else:
                output.begin()
            self.outputs[name] = output

    async def _open_steps(self, stages: list[Stage], states: States) -> None:
        waiting = {key: list(found) for key, found in states.items()}
        for stage in stages:
            stage.open()
            if stage.step.is_stateful and (found := waiting.get(key_of(stage.step))):
                await stage.restore(found.pop(0), self.clock())

    def _count_connections(self) -> None:
        for workers in self._parts.workers.values():
            for feed in workers.feeds:
                feed.connections.count(on=feed.codec.holds)

    async def _states(self, but: Collection[Step[Any]] = ()) -> States:
        states: States = {}
        for stage in self._stages():
            if stage.step.is_stateful and stage.step not in but:
                state = await stage.snapshot()
                if state is not None:
                    states.setdefault(key_of(stage.step), []).append(state)
        return states

    async def _store(self) -> None:
        """Store the states and the positions of files, unless a codec holds frames of a file."""
        self._next_store_mono_s = self._after_interval()
        for source, _ in self._connections:
            _, feed = self._feed(source)
            if feed.codec.holds_open and feed.frames.held:
                return
        self._stored = await self._states()
        for connection in self._connections.values():
            connection.mark()

    def _after_interval(self) -> float:
        return self.clock.mono_s + self._loaded.config.ledger.interval

    def _stages(self) -> list[Stage]:
        return [stage for pipeline in self._parts.pipelines.values() for stage in pipeline.stages]

    def _feed(self, source: str) -> tuple[Workers, Feed]:
        return next(
            (workers, feed)
            for workers in self._parts.workers.values()
            for feed in workers.feeds
            if feed.frames.source == source
        )

    def _connection(self, source: str, peer: str) -> SentConnection:
        if (source, peer) not in self._connections:
            intake = self._parts.intakes[source]
            self._connections[source, peer] = SentConnection(peer, self._framers(source), intake)
        return self._connections[source, peer]

    def _peer(self, settings: SourceSettings, peer: str | None) -> str:
        if settings.type == "file":
            return str(self._loaded.base_dir / str(getattr(settings, "path", "")))
        return peer or PEERS.get(settings.type, PEER)

    async def _read_again(self) -> None:
        """Let `file` sources read on from their positions."""
        for (source, _), connection in self._connections.items():
            _, feed = self._feed(source)
            connection.read_again(
                self._framers(source),
                self._parts.intakes[source],
                self.clock.wall_s,
                needs_first=feed.codec.needs_first,
            )
        await self._work()

    def _framers(self, source: str) -> Callable[[], AnyFramer]:
        found = components.framers(self._loaded.config.sources[source].cut_by)
        assert found is not None, "a source of streams has a framing"  # noqa: S101 - a broken promise
        return found

    async def _work(self) -> None:
        """Carry everything that waits to its end."""
        for workers in self._parts.workers.values():
            for feed in workers.feeds:
                while feed.buffer.records or (feed.codec.holds and feed.connections.over):
                    await workers.work_on(feed)
                    await self._flush()
        await self._flush()

    async def _flush(self) -> None:
        for delivery in self._parts.deliveries.values():
            await delivery.flush()

    def _next_due(self, *, stores: bool = True) -> _TimerDue | None:
        """The earliest timer of a codec or step, or the next time at which states are stored."""
        found: list[_TimerDue] = []
        for workers in self._parts.workers.values():
            for feed in workers.feeds:
                if feed.codec.holds and (mono_s := feed.codec.next_deadline()) is not None:
                    found.append(_TimerDue(mono_s, len(found), partial(self._call, workers, feed)))
        for pipeline in self._parts.pipelines.values():
            for index, stage in enumerate(pipeline.stages):
                if stage.step.is_timed and (mono_s := stage.next_deadline()) is not None:
                    mono_s = max(mono_s, self._not_before_mono_s.get(stage, mono_s))
                    found.append(_TimerDue(mono_s, len(found), partial(self._tick, pipeline, index)))
        if stores and self._next_store_mono_s < math.inf:
            found.append(_TimerDue(self._next_store_mono_s, len(found), self._store))
        return min(found, default=None)

    async def _call(self, workers: Workers, feed: Feed) -> None:
        feed.is_due = True
        await workers.work_on(feed)
        await self._flush()

    async def _tick(self, pipeline: Pipeline, index: int) -> None:
        made = await pipeline.tick(index)
        mono_s = self.clock.mono_s
        self._not_before_mono_s[pipeline.stages[index]] = mono_s if made else mono_s + IDLE_S
        await self._flush()


def _is_due(stage: Stage, mono_s: float) -> bool:
    deadline = stage.next_deadline()
    return deadline is not None and deadline <= mono_s
