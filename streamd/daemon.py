"""The life of the daemon: build, open, run, drain, and say what became of every record."""

import asyncio
import gc
import os
import resource
import signal
import sys
import time
import uuid
from collections.abc import Awaitable, Iterable
from pathlib import Path

import structlog

from streamd import __version__, ledger
from streamd.config import Loaded
from streamd.core.books import Books
from streamd.core.clock import read_clock
from streamd.core.timestamp import from_epoch
from streamd.dead_letters import DeadLetters
from streamd.pipeline import assemble
from streamd.storage.databases import Databases

log = structlog.get_logger()

SWITCH_INTERVAL_S = 0.001
"""How long the database thread may keep the interpreter from the loop; a fifth of Python's default."""
CLOSE_TIMEOUT_S = 3.0
"""How long one part may take to close once everything is drained; a hung disk must not keep us for ever."""


class Daemon:
    """One run of streamd on one configuration."""

    def __init__(self, loaded: Loaded) -> None:
        config = loaded.config
        self.loaded = loaded
        self.run_id = uuid.uuid4().hex[:12]
        self.started_at = from_epoch(time.time())
        self.books = Books()
        self.databases = Databases()
        self.state_dir = Path(config.daemon.state_dir)
        self.dead_letters = DeadLetters(config.dead_letters, self.state_dir, self.databases, read_clock)
        self.parts = assemble(loaded, self.books, self.dead_letters, self.databases, read_clock)
        self.ledger = ledger.Ledger(
            config.ledger, self.state_dir, self.databases, self.books, self.run_id, read_clock
        )
        self.phase = "starting"
        self._stop = asyncio.Event()
        self._signals = 0
        self._failed = False
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> int:
        """Open everything, run until told to stop, drain. The exit code: 0, or 1 where records were left."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            await self._open()
            self.phase = "running"
            log.info("ready", run_id=self.run_id, version=__version__, config=str(self.loaded.path))
            await self._stop.wait()
            return await self._drain()
        finally:
            await self._close()

    async def _open(self) -> None:
        raise_file_limit()
        self.state_dir.mkdir(parents=True, exist_ok=True)
        await self.dead_letters.open()
        await self.ledger.open()
        for sink in self.parts.sinks.values():
            await sink.open()
        for name, delivery in self.parts.deliveries.items():
            self._start(f"sink {name}", delivery.run())
        for name, workers in self.parts.workers.items():
            self._start(f"pipeline {name}", workers.run())
        self._start("ledger", self._keep_ledger())
        for name, source in self.parts.sources.items():
            await source.open(self.parts.intakes[name])
        gc.collect()
        gc.freeze()  # what is built now lives as long as the process: no collection need look at it again
        gc.set_threshold(50_000, 20, 100)

    def refresh(self) -> None:
        """Bring the kernel's numbers into the books."""
        for source in self.parts.sources.values():
            source.refresh()

    async def _keep_ledger(self) -> None:
        while True:
            await asyncio.sleep(self.loaded.config.ledger.interval)
            self.refresh()
            await self.ledger.flush()

    def _start(self, name: str, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)  # noqa: S101 - narrows the type
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._on_end(name, done))

    def _on_end(self, name: str, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("part_failed", part=name, error=repr(error), exc_info=error)
            self._failed = True
            self._stop.set()

    def _on_signal(self, number: int) -> None:
        self._signals += 1
        if self._signals > 1:
            self.refresh()
            print_lines([*ledger.summary(self.books), "streamd: second signal: ended at once"])
            os._exit(1)
        log.info("stopping", signal=signal.Signals(number).name)
        self.phase = "draining"
        self._stop.set()

    async def _drain(self) -> int:
        self.phase = "draining"
        limit_s = self.loaded.config.daemon.drain_timeout
        end_mono_s = read_clock().mono_s + limit_s
        for source in self.parts.sources.values():
            await source.stop()
        for workers in self.parts.workers.values():
            workers.close()
        await self._finish("pipeline ", end_mono_s)
        for delivery in self.parts.deliveries.values():
            delivery.buffer.close()
        await self._finish("sink ", end_mono_s)
        return 1 if self._abandon() or self._failed else 0

    async def _finish(self, kind: str, end_mono_s: float) -> None:
        """Wait for the tasks of a kind until the time is over, then end them."""
        tasks = [task for name, task in self._tasks.items() if name.startswith(kind)]
        _, late = await asyncio.wait(tasks, timeout=max(0.0, end_mono_s - read_clock().mono_s))
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=CLOSE_TIMEOUT_S)

    def _abandon(self) -> int:
        """Enter what could not be finished as dropped, each in its book; how many it was."""
        left = sum(intake.abandon() for intake in self.parts.intakes.values())
        for record_book in self.books.records.values():
            if record_book.in_flight:
                left += record_book.in_flight
                record_book.dropped["shutdown"] += record_book.in_flight
        for delivery_book in self.books.deliveries.values():
            if delivery_book.pending:
                left += delivery_book.pending
                delivery_book.dropped["shutdown"] += delivery_book.pending
        if left:
            limit_s = self.loaded.config.daemon.drain_timeout
            log.error("drain_timeout", left=left, drain_timeout_s=limit_s)
        return left

    async def _close(self) -> None:
        self._tasks.get("ledger") and self._tasks["ledger"].cancel()
        closing = [source.stop() for source in self.parts.sources.values()]
        closing += [sink.close() for sink in self.parts.sinks.values()]
        closing += [self.dead_letters.close(), self.ledger.close()]
        hung = await close_all(closing)
        print_lines(ledger.summary(self.books))
        if hung:
            # A thread that hangs in a system call would keep the interpreter from ending.
            sys.stderr.flush()
            os._exit(1)


async def close_all(closing: Iterable[Awaitable[None]]) -> bool:
    """Await each in turn, none for longer than `CLOSE_TIMEOUT_S`; whether one hung. Faults are logged."""
    hung = False
    for part in closing:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await part
        except TimeoutError:
            hung = True
            log.error("close_timeout", timeout_s=CLOSE_TIMEOUT_S)  # noqa: TRY400 - the trace says nothing
        except Exception as error:
            log.exception("close_failed", error=repr(error))
    return hung


def print_lines(lines: Iterable[str]) -> None:
    """Print on stderr, beside the log; a closed stderr is no reason to fail."""
    try:
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        sys.stderr.flush()
    except OSError:
        pass


def raise_file_limit() -> None:
    """Take the most file descriptors the system allows without asking: each connection needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
