"""Replaces the running assembly by the next one, without losing or reordering records."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from streamd.assembly import Assembly
from streamd.core.books import Books
from streamd.core.contracts import AnySink, AnySource, Source
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.settings import Address, Endpoint
from streamd.reload.changes import Changes
from streamd.runtime.backoff import Backoff
from streamd.runtime.delivery import Delivery
from streamd.runtime.stage import Stage
from streamd.state.keeper import StateKeeper

log = structlog.get_logger()

_CANCEL_S = 3.0

Start = Callable[[str, Coroutine[Any, Any, None]], asyncio.Task[None]]
"""Runs a part as a task of the daemon. The drain waits for it."""


class Swap:
    """One reload. `open` may fail and then changes nothing. `run` cannot be undone."""

    def __init__(
        self, old: Assembly, new: Assembly, changes: Changes, books: Books, state: StateKeeper
    ) -> None:
        self._old = old
        self._new = new
        self._changes = changes
        self._books = books
        self._state = state
        self._sinks = changes.sinks["replaced"] + changes.sinks["added"]
        self._sources = changes.sources["replaced"] + changes.sources["added"]
        self._going = changes.sources["replaced"] + changes.sources["removed"]
        self._sinks_going = changes.sinks["removed"] + changes.sinks["replaced"]

    def _sink_opens_first(self, name: str) -> bool:
        """Whether the new sink can be opened before the sinks it replaces are closed."""
        sink = self._new.sinks[name]
        return sink.opens_beside or not any(
            _same_place(self._old.sinks[gone], sink) for gone in self._sinks_going
        )

    def _source_opens_first(self, name: str) -> bool:
        """Whether the new source can be opened before the sources it replaces are stopped."""
        old, new = self._old.sources, self._new.sources[name]
        if any(_overlap(old[gone], new) for gone in self._going):
            return False
        return name not in old or new.opens_beside

    def _new_stages(self) -> list[Stage]:
        before = {stage.step for pipeline in self._old.pipelines.values() for stage in pipeline.stages}
        stages = [stage for pipeline in self._new.pipelines.values() for stage in pipeline.stages]
        return [stage for stage in stages if stage.step not in before]

    async def open(self) -> None:
        """Open the new components that need not wait for a component they replace.

        Raises `EnvironmentFault` or `ConfigError`; then every component opened here is closed again.
        """
        opened: list[AnySink | AnySource | Stage] = []
        resuming = {name: intake.buffer.on_room for name, intake in self._old.intakes.items()}
        try:
            await self._state.prepare(self._new)
            for step in self._new_stages():
                step.open()
                opened.append(step)
            for name in self._sinks:
                if self._sink_opens_first(name):
                    await self._new.sinks[name].open()
                    opened.append(self._new.sinks[name])
            for name in self._sources:
                if self._source_opens_first(name):
                    await self._new.sources[name].open(self._new.intakes[name])
                    opened.append(self._new.sources[name])
        except BaseException:
            for part in reversed(opened):
                await (part.stop() if isinstance(part, Source) else part.close())
            for name, on_room in resuming.items():  # a source that stays may be waiting for room
                self._old.intakes[name].buffer.on_room = on_room
            for name in self._changes.sources["added"]:
                self._new.intakes[name].abandon()
            raise

    async def run(
        self,
        start: Start,
        tasks: dict[str, asyncio.Task[None]],
        timeout_s: float,
        on_gone: Callable[[str], None],
    ) -> None:
        """Swap the assemblies. Batches still in the steps after `timeout_s` are dropped and counted.

        `on_gone` is called with the name of each sink after its last write, before its successor opens.
        """
        old, new = self._old, self._new
        gone = self._changes.sources["removed"]
        await self._stop_sources(tasks)
        await self._retire_workers([tasks[f"pipeline {name}"] for name in old.workers], timeout_s)
        for name in gone:
            old.intakes[name].abandon("reload")
            await old.sources[name].stop()  # saves its position, from which a renamed source continues
        await self._state.hand_over(new)
        for name, pipeline in new.pipelines.items():
            self._books.connect(name, [output.sink for output in pipeline.fanout.outputs])
        for name in self._changes.sources["changed"]:
            new.sources[name].become(new.settings[name], new.contexts[name])
        for name, intake in new.intakes.items():
            intake.resize(new.settings[name].buffer, new.settings[name].when_full)
        self._start_sinks(start, tasks, on_gone)
        for name, workers in new.workers.items():
            start(f"pipeline {name}", workers.run())
        for name in self._sources:
            if not self._source_opens_first(name):
                opening = partial(new.sources[name].open, new.intakes[name])
                start(f"source {name}", _open_late(opening, f"source {name}"))

    async def _stop_sources(self, tasks: dict[str, asyncio.Task[None]]) -> None:
        for name in self._going:
            opening = tasks.get(f"source {name}")
            if opening is not None:  # an earlier reload may still be trying to open it
                opening.cancel()
                await asyncio.wait({opening})
            await self._old.sources[name].stop()

    def _start_sinks(
        self, start: Start, tasks: dict[str, asyncio.Task[None]], on_gone: Callable[[str], None]
    ) -> None:
        old, new = self._old, self._new
        closing = {}
        for name in self._sinks_going:
            old.deliveries[name].buffer.close()
            writing = tasks[f"sink {name}"]
            closing[name] = start(
                f"sink {name}, the one before", _close(writing, old.sinks[name], name, on_gone)
            )
        for name in self._sinks:
            sink = None if self._sink_opens_first(name) else new.sinks[name]
            before = {
                task
                for gone, task in closing.items()
                if gone == name or _same_place(old.sinks[gone], new.sinks[name])
            }
            start(f"sink {name}", _deliver(new.deliveries[name], before, sink))

    async def _retire_workers(self, tasks: list[asyncio.Task[None]], timeout_s: float) -> None:
        old = self._old
        kept = {stage.step for pipeline in self._new.pipelines.values() for stage in pipeline.stages}
        feeds = [feed for workers in self._new.workers.values() for feed in workers.feeds]
        codecs = [feed.before or feed.codec for feed in feeds]
        ending = [old.intakes[name].buffer for name in self._changes.sources["removed"]]
        for workers in old.workers.values():
            for pipeline in workers.pipelines:
                pipeline.handed_on = [stage for stage in pipeline.stages if stage.step in kept]
            workers.retire(lambda feed: any(feed.buffer is buffer for buffer in ending), codecs)
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=timeout_s)
        if late:
            for task in late:
                task.cancel()
            await asyncio.wait(late, timeout=_CANCEL_S)
            lost = sum(book.give_up("reload") for book in self._books.records.values())
            for workers in old.workers.values():
                for feed in workers.unfinished:  # the frames held by these codecs can no longer be released
                    feed.frames.dropped["reload"] += feed.frames.held
                    lost += feed.frames.held
                    feed.frames.held = 0
            log.error("reload_timeout", records_left=lost, waited_s=timeout_s)
        for feed in feeds:
            if feed.before is not None:
                feed.codec.adopt(feed.before)


def _same_place(one: AnySink, other: AnySink) -> bool:
    """Whether two sinks write to the same table, file or peer, also under different names.

    All sinks of a type that declares no outputs (stdout) write to one place.
    """
    outputs = _outputs(one)
    return bool(outputs & _outputs(other)) or (type(one) is type(other) and not outputs)


def _outputs(sink: AnySink) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for kind, at, table, _ in sink.config.outputs:
        path = os.path.realpath(sink.context.state_dir / at) if kind in ("database", "file") else at
        found.add((kind, path, table.lower()))  # SQLite compares names without case
    return found


def _overlap(one: AnySource, other: AnySource) -> bool:
    """Whether two sources cannot be open at once, such as 127.0.0.1:514 and 0.0.0.0:514, or one file."""
    endpoints = one.config.endpoints
    if not endpoints:
        same_file = os.path.realpath(str(one.address)) == os.path.realpath(str(other.address))
        return type(one) is type(other) and same_file
    return any(
        _meet(first, second, one.context.state_dir)
        for first in endpoints
        for second in other.config.endpoints
        if first.kind == second.kind
    )


def _meet(one: Endpoint, other: Endpoint, state_dir: Path) -> bool:
    first, second = one.at, other.at
    if not isinstance(first, Address) or not isinstance(second, Address):
        return os.path.realpath(state_dir / str(first)) == os.path.realpath(state_dir / str(second))
    if not first.port:
        return False
    return bool(first.port == second.port and first.host != second.host)  # equal ones share their socket


async def _close(
    writing: asyncio.Task[None], sink: AnySink, name: str, on_gone: Callable[[str], None]
) -> None:
    try:
        await asyncio.wait({writing})
    finally:
        if not writing.done():
            writing.cancel()
            await asyncio.wait({writing}, timeout=_CANCEL_S)
        await sink.close()
        on_gone(name)


async def _deliver(delivery: Delivery, before: set[asyncio.Task[None]], sink: AnySink | None) -> None:
    """Wait for the tasks `before`, open the `sink` if it is given, and deliver."""
    if before:
        await asyncio.wait(before)
    if sink is not None:
        await _open_late(sink.open, f"sink {delivery.name}")
    await delivery.run()


async def _open_late(open_it: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    """Try to open a component until it succeeds."""
    backoff = Backoff()
    while True:
        try:
            await open_it()
        except (EnvironmentFault, ConfigError) as error:
            wait_s = backoff.next_s()
            log.warning("reload_cannot_open", part=name, why=str(error), retry_in_s=round(wait_s, 1))
            await asyncio.sleep(wait_s)
        else:
            return
