"""The life of the daemon: build, open, run, drain, and print the books."""

import asyncio
import os
import signal
import time
from typing import Any

import structlog

from streamd import __version__, live_view, tap_points
from streamd.admin.control import AskingProcess, ControlServer
from streamd.admin.server import AdminServer
from streamd.admin.view import View
from streamd.admin.watch import Watch
from streamd.assembly import Assembly, assemble
from streamd.closing_books import summary
from streamd.config import Loaded, load
from streamd.core.books import Books
from streamd.core.clock import read_clock
from streamd.core.errors import EnvironmentFault, Place
from streamd.core.settings import DeadLetterPayload
from streamd.core.shared import Shared
from streamd.dead_letters.dead_letters import DeadLetters
from streamd.ledger.ledger import Ledger
from streamd.logs import logs
from streamd.processes.alone import Alone
from streamd.reload.asked_work import backing
from streamd.reload.changes import Changes, compare, keep_schemas, refuse_fixed
from streamd.reload.rehearsal import rehearse
from streamd.reload.reloads import Reloads, before_any_change
from streamd.reload.required_tests import require_tests
from streamd.reload.swap import Swap
from streamd.runtime.closing import CLOSE_TIMEOUT_S, close_all
from streamd.runtime.file_limit import raise_file_limit
from streamd.runtime.named_tasks import NamedTasks
from streamd.service.announcer import Announcer, parts_of
from streamd.service.garbage import Garbage
from streamd.sqlite.databases import Databases
from streamd.sqlite.files import free_bytes
from streamd.state.keeper import StateKeeper

log = structlog.get_logger()

SWITCH_INTERVAL_S = 0.001
"""How long the database thread may hold the interpreter lock while the loop waits; a fifth of the default."""
FEW_RECORDS = 1000
"""With fewer records than this in the buffers, a garbage collection takes a few milliseconds."""


class Daemon:
    """One run of streamd on one configuration."""

    def __init__(self, loaded: Loaded, place: Alone | None = None) -> None:
        """`place`: the place among several processes. `loaded` is then the share of the configuration."""
        config = loaded.config
        self.loaded = loaded
        self._place = place or Alone()
        self.books = self._place.books()
        self.databases = Databases(has_others=self._place.has_others)
        self._shared = Shared(self.databases)
        self.dead_letters = DeadLetters(
            loaded.state_dir / config.dead_letters.path,
            config.dead_letters,
            self.databases,
            payloads=_payloads(loaded),
            quality=self.books.quality,
        )
        self.sockets = self._place.sockets()
        self.state = StateKeeper(
            self.databases,
            loaded.state_dir,
            self.books,
            interval_s=config.ledger.interval,
            max_bytes=config.daemon.max_state,
            clock=read_clock,
        )
        self.parts = self._assemble(loaded, self.books)
        for name, pipeline in config.pipelines.items():
            self.books.connect(name, pipeline.sinks)
        self.view = View(
            books=self.books,
            refresh=self.refresh,
            buffers=lambda: live_view.buffers(self.parts),
            sinks=lambda: live_view.sinks(self.parts),
            sources=lambda: live_view.sources(self.parts),
            stages=lambda: live_view.stages(self.parts, read_clock().mono_s),
            loop_cpu_s=time.thread_time,
            take_least_waits_s=lambda: live_view.take_least_waits_s(self.parts),
            dead_letters=self.dead_letters.counts,
            clock=read_clock,
            version=__version__,
            run_id=self._place.run_id,
            started_at_wall_s=read_clock().wall_s,
            config_path=str(loaded.path.absolute()),
            state_dir=str(loaded.state_dir),
            ledger_trouble=lambda: self.ledger.trouble if self.ledger is not None else None,
            lost_files=self.databases.troubles,
            unclean_runs=lambda: self.ledger.unclean_runs if self.ledger is not None else 0,
            holds=self._holds,
            page=lambda: None if self.admin is None else self.admin.page,
            free_bytes=self._free_bytes,
        )
        self.view.taps.attach(tap_points.points(self.parts))
        self.announcer = Announcer(
            self.view,
            lambda patience_s: parts_of(self.parts, self.loaded.config, patience_s),
            self._place.watchdog_s,
        )
        self.watch = Watch(self.view)
        self._stop = asyncio.Event()
        self.reloads = Reloads(self._reload, self.view)
        self._backing = backing(lambda: self.loaded, self._stop)
        self.admin: AdminServer | None = None
        self.control: ControlServer | None = None
        self.ledger: Ledger | None = None
        self._signals = 0
        self._tasks = NamedTasks(self._stop)
        self._had_terminal = os.isatty(2)

    def _assemble(
        self, loaded: Loaded, books: Books, before: tuple[Loaded, Assembly] | None = None
    ) -> Assembly:
        return assemble(
            loaded,
            books,
            self.dead_letters,
            self._shared,
            read_clock,
            self.sockets,
            before,
        )

    async def run(self) -> int:
        """Open everything, run until a stop signal, drain. Returns the exit code.

        The code is 1 if records were left after `drain_timeout` or a part of the daemon failed, else 0.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # delivers a SIGHUP sent during the start
        try:
            async with self.reloads.lock:  # a reload requested during the start waits
                await self._open()
                self.view.phase = "running"
            self._tasks.start("announcer", self.announcer.run())
            self._place.say_ready(self.view)
            await self._stop.wait()
            async with self.reloads.lock:  # a reload under way ends first
                return await self._drain()
        finally:
            await self._close()

    async def _open(self) -> None:
        raise_file_limit()
        config = self.loaded.config
        self._tasks.start("watch", self.watch.run())
        await self._place.attach(self.view, self.announcer)
        self._tasks.start("place", self._place.run(self._reload_share, self._stop_share))
        await self._open_control()  # first: it refuses a second daemon on this state before any change
        await self.dead_letters.open()
        self._ledger_file = await self.databases.acquire(self.loaded.state_dir / config.ledger.path)
        self.ledger = Ledger(
            self.books,
            self._ledger_file,
            self.view.run_id,
            config.ledger.interval,
            more_entries=self.dead_letters.entries,
            max_age_s=config.ledger.max_age,
            runs_beside=self._place.runs_beside,
        )
        await self.ledger.open()
        for sink in self.parts.sinks.values():
            await sink.open()
        for pipeline in self.parts.pipelines.values():  # after the sinks: stdout then carries records only
            for stage in pipeline.stages:
                stage.open()
        if self._place.keeps_state:
            await self.state.open(self.parts)
        self._garbage = Garbage(read_clock().mono_s)  # before the ledger, which may be due at once
        for name, delivery in self.parts.deliveries.items():
            self._tasks.start(f"sink {name}", delivery.run())
        for name, workers in self.parts.workers.items():
            self._tasks.start(f"pipeline {name}", workers.run())
        self._tasks.start("ledger", self._keep_ledger(self.ledger))
        self._tasks.start("state", self.state.run())
        if config.admin.listen is not None:
            self.admin = AdminServer(self.view, self.watch, self._backing)
            await self.admin.open()
            for address in self.admin.served_at:
                log.info("admin_listening", address=address)
        await self.parts.open_sources()
        self.sockets.warn_of_unused()
        self._garbage.collect(read_clock().mono_s)

    async def _open_control(self) -> None:
        if (path := self.loaded.control_path) is None:
            return
        self.control = ControlServer(
            self.view,
            self.watch,
            path,
            group=self.loaded.config.control.group,
            reload=self._reload_for,
            backing=self._backing,
        )
        await self.control.open()

    def _holds(self) -> list[Place]:
        """The files, addresses and sockets that no other process may use while this daemon runs."""
        found = list(live_view.places(self.parts))
        found += [("database", str(path)) for path in self.databases.paths]
        if self.loaded.control_path is not None:
            found.append(("unix", str(self.loaded.control_path)))
        if self.admin is not None:
            found += self.admin.places
        return found

    def refresh(self) -> None:
        """Copy the kernel's drop counters into the books."""
        for source in self.parts.sources.values():
            source.refresh()

    async def _keep_ledger(self, ledger: Ledger) -> None:
        while True:
            await asyncio.sleep(ledger.due_in_s(read_clock().wall_s))
            self.refresh()
            await ledger.flush()
            logs.flush_suppressed()
            if sum(buffer.records for buffer in live_view.buffers(self.parts)) < FEW_RECORDS:
                self._garbage.collect(read_clock().mono_s)

    def _free_bytes(self) -> int | None:
        try:
            return free_bytes(self.loaded.state_dir)
        except OSError:
            return None

    async def _reload(self, dry_run: bool) -> Changes:
        """Read the configuration again and apply it. With `dry_run`, only return the changes.

        Raises `ConfigError` or `EnvironmentFault`; the daemon then continues unchanged. Python files of steps
        are imported on the loop: a slow import stops the loop for its whole time. Only `Reloads` calls this.
        """
        if self._stop.is_set():
            raise EnvironmentFault("streamd is stopping")
        now, old = self.loaded, self.parts
        with before_any_change():
            new = self._place.share(load(self.loaded.path))
            refuse_fixed(now, new)
            keep_schemas(now, new)
            parts = self._assemble(new, Books() if dry_run else self.books, (now, old))
            changes = compare(now, old, new, parts)
            if new.config.daemon.tests == "require":
                await require_tests(new.path, self._stop)
            await rehearse(parts, changes, self._holds())
            if dry_run:
                return changes
            swap = Swap(old, parts, changes, self.books, self.state)
            await swap.open()
        self.view.taps.attach(tap_points.points(parts))
        await swap.run(self._tasks.start, self._tasks, new.config.daemon.drain_timeout, self._forget_sink)
        self.loaded, self.parts = new, parts
        self.view.taps.replaced()
        self.dead_letters.payloads = _payloads(new)
        logs.set_level(new.config.log.level)
        self.sockets.warn_of_unused()
        return changes

    def _forget_sink(self, name: str) -> None:
        if self.ledger is not None:
            self.ledger.forget_sink(name)

    async def _reload_for(self, dry_run: bool, peer: AskingProcess) -> dict[str, Any]:
        return await self.reloads.answer(dry_run, peer, lambda work: self._tasks.start("reload", work))

    async def _reload_share(self, dry_run: bool) -> Changes:
        """The reload of this process, which the leading process announces and logs."""
        async with self.reloads.lock:
            return await self._reload(dry_run)

    def _stop_share(self, is_last: bool) -> None:
        self.sockets.is_last = is_last
        self._stop.set()

    def _on_hangup(self) -> None:
        if not self._place.obeys_hangup:
            log.warning("hangup_ignored", hint="send SIGHUP to the leading process, or use streamd reload")
        elif self._had_terminal and not os.isatty(2):
            self._on_signal(signal.SIGHUP)  # the terminal was closed
        else:
            self._tasks.start("reload", self.reloads.ask(asked_by="SIGHUP"))

    def _on_signal(self, number: int) -> None:
        self._signals += 1
        if self._signals > 1:
            self.refresh()
            self._print_books()
            logs.print_line("second signal: ended at once")
            os._exit(1)
        log.info("stopping", signal=signal.Signals(number).name)
        self._stop.set()

    async def _drain(self) -> int:
        self.view.phase = "draining"
        limit_s = self.loaded.config.daemon.drain_timeout
        end_mono_s = read_clock().mono_s + limit_s
        self.announcer.stop(end_mono_s)
        await self._tasks.finish("source ", read_clock().mono_s)
        for source in self.parts.sources.values():
            await source.stop()
        for workers in self.parts.workers.values():
            workers.close()
        await self._tasks.finish("pipeline ", end_mono_s)
        for delivery in self.parts.deliveries.values():
            delivery.buffer.close()
        await self._tasks.finish("sink ", end_mono_s)
        self.view.taps.end("stopping")
        self._tasks["state"].cancel()
        await self.state.finish()
        return 1 if self._abandon() or self._tasks.failed else 0

    def _print_books(self) -> None:
        for line in summary(self.books):
            logs.print_line(line)

    def _abandon(self) -> int:
        """Count unfinished frames, records and deliveries as dropped in their books. Returns their number."""
        frames = sum(intake.abandon() for intake in self.parts.intakes.values())
        for delivery in self.parts.deliveries.values():
            delivery.abandon()
        records = sum(book.give_up("shutdown") for book in self.books.records.values())
        deliveries = sum(book.give_up("shutdown") for book in self.books.deliveries.values())
        if frames or records or deliveries:
            log.error(
                "drain_timeout",
                frames_left=frames,
                records_left=records,
                deliveries_left=deliveries,
                drain_timeout_s=self.loaded.config.daemon.drain_timeout,
            )
        return frames + records + deliveries

    async def _close(self) -> None:
        self._tasks.cancel()
        closing = [source.stop() for source in self.parts.sources.values()]
        closing += [sink.close() for sink in self.parts.sinks.values()]
        closing.append(self.state.close())
        closing.append(self.dead_letters.close())
        if self.ledger is not None:
            closing += [self.ledger.close(), self.databases.release(self._ledger_file)]
        if self.control is not None:
            closing.append(self.control.close())
        if self.admin is not None:
            closing.append(self.admin.close())
        self.announcer.closing(len(closing) * CLOSE_TIMEOUT_S)
        hung = await close_all(closing)
        logs.flush_suppressed()
        self.sockets.close()
        await self._place.finish(self.view)
        if hung:
            # A thread that hangs in a system call would prevent the interpreter's exit.
            os._exit(1)


def _payloads(loaded: Loaded) -> dict[str, DeadLetterPayload]:
    return {name: source.dead_letters.payload for name, source in loaded.config.sources.items()}
