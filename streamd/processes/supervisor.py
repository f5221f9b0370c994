"""The leading process: starts the others, replaces those that end, and shows all of them as one daemon."""

import asyncio
import os
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import structlog

from streamd import __version__, components
from streamd.admin.control import AskingProcess, ControlServer
from streamd.admin.server import AdminServer
from streamd.admin.view import View
from streamd.admin.watch import Watch
from streamd.closing_books import summary
from streamd.config import Loaded, load
from streamd.core.clock import read_clock
from streamd.core.errors import EnvironmentFault, Place
from streamd.core.shared import Shared
from streamd.dead_letters.dead_letters import DeadLetters
from streamd.logs import logs
from streamd.net.sockets import inherited
from streamd.processes import snapshot
from streamd.processes.child import LedProcess
from streamd.processes.ending import give_up
from streamd.processes.link import Assignment
from streamd.processes.listeners import Listeners
from streamd.processes.reloading import rehearsed, reload_each
from streamd.processes.silence import HUNG_S, LOOK_S, Silence
from streamd.processes.view import Together
from streamd.reload.asked_work import backing
from streamd.reload.changes import Changes, refuse_fixed
from streamd.reload.reloads import Reloads
from streamd.reload.required_tests import require_tests
from streamd.runtime.backoff import Backoff
from streamd.runtime.closing import CLOSE_TIMEOUT_S, close_all
from streamd.service.announcer import Announcer
from streamd.service.progress import Part
from streamd.service.systemd import watchdog_s
from streamd.sqlite.databases import Databases
from streamd.sqlite.files import free_bytes

log = structlog.get_logger()

MOST_PAUSE_S = 30.0
"""The longest pause before a process that ended is started again."""
STEADY_S = 60.0
"""A process that has lived for this time is started again after the shortest pause."""
_TAP_REFUSAL = (
    "with several processes (daemon.processes) there are no taps: run the configuration with processes = 1,"
    " or look at the stored rows"
)


class Supervisor:
    """One run of streamd in several processes."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.count = loaded.config.daemon.process_count
        self.children: dict[int, LedProcess] = {}
        self.together = Together(self.children, read_clock)
        self.listeners = Listeners(inherited(os.environ), self.count)
        self.view = self._view()
        self.watch = Watch(self.view)
        self.announcer = Announcer(self.view, self.parts, watchdog_s(os.environ, os.getpid()))
        self.reloads = Reloads(self._reload, self.view)
        self.admin: AdminServer | None = None
        self.control: ControlServer | None = None
        self._stop = asyncio.Event()
        self._backing = backing(lambda: self.loaded, self._stop)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._signals = 0
        self._failed = False

    async def run(self) -> int:
        """Start everything, run until a stop signal, drain. Returns the exit code, as `Daemon.run` does."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        self._check(self.loaded)
        try:
            async with self.reloads.lock:
                await self._open()
                self.view.phase = "running"
            self._spawn(self.announcer.run())
            self._spawn(self._end_hung())
            log.info(
                "ready",
                run_id=self.view.run_id,
                version=__version__,
                config=self.view.config_path,
                processes=self.count,
            )
            await self._stop.wait()
            async with self.reloads.lock:
                return await self._drain()
        finally:
            await self._close()

    async def _open(self) -> None:
        self._spawn(self.watch.run())
        if (path := self.loaded.control_path) is not None:
            self.control = ControlServer(
                self.view,
                self.watch,
                path,
                group=self.loaded.config.control.group,
                reload=self._reload_for,
                backing=self._backing,
            )
            await self.control.open()
        self.listeners.open(self.loaded.config)
        if self.loaded.config.admin.listen is not None:
            self.admin = AdminServer(self.view, self.watch, self._backing)
            await self.admin.open()
            for address in self.admin.served_at:
                log.info("admin_listening", address=address)
        await self._first(0)  # makes the tables, and stores which earlier runs have not ended
        await asyncio.gather(*(self._first(number) for number in range(1, self.count)))

    async def _first(self, number: int) -> None:
        """Start a process, and wait until it is ready. Raises `EnvironmentFault` if it ends before."""
        child = await self._started(number)
        ready = asyncio.create_task(child.is_ready.wait())
        tending = self._spawn(self._tend(child))
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait((ready, tending, stopping), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        stopping.cancel()
        if tending.done():
            raise EnvironmentFault(f"process {number} could not be started: its reason is above")

    async def _started(self, number: int) -> LedProcess:
        ended = self.together.ended.get(number, 0)
        run_id = f"{self.view.run_id}-{number}" + (f".{ended}" if ended else "")
        child = LedProcess(
            Assignment(
                number,
                self.count,
                run_id,
                self.listeners.given(number),
                self.listeners.inherited(number),
                frozenset(self.listeners.alone),
                connections=self.listeners.connections.fd,
                addresses=self.listeners.connections.addresses,
                counted_drops=self.listeners.counted_drops(number),
            )
        )
        await child.start(self.view.config_path)
        self.children[number] = child
        return child

    async def _tend(self, child: LedProcess) -> None:
        """Wait for the end of a process, and start it again, until the stop."""
        number, backoff = child.assignment.number, Backoff(most_s=MOST_PAUSE_S)
        while True:
            code = await child.ended()
            if not child.is_ready.is_set() and self.view.phase == "starting":
                del self.children[number]
                return
            await self._bury(child, code)
            if self._stop.is_set():
                return
            if read_clock().mono_s - child.started.mono_s > STEADY_S:
                backoff.reset()
            pause_s = backoff.next_s()
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._stop.wait()
                if self._stop.is_set():
                    return
                try:
                    child = await self._started(number)
                except EnvironmentFault as fault:
                    pause_s = backoff.next_s()
                    log.error("process_not_started", process=number, why=str(fault), retry_in_s=pause_s)  # noqa: TRY400
                else:
                    if self._stop.is_set():  # the drain did not know it yet
                        child.stop(is_last=True)
                    break

    async def _end_hung(self) -> None:
        """Kill a process that reports nothing, so that it is replaced."""
        silence = Silence(min(HUNG_S, self.announcer.patience_s or HUNG_S))
        while not self._stop.is_set():
            ready = {number: child for number, child in self.children.items() if child.is_ready.is_set()}
            heard = {number: child.heard_mono_s for number, child in ready.items()}
            for number in silence.over(heard, read_clock().mono_s):
                self.together.hung[number] = self.together.hung.get(number, 0) + 1
                log.error("process_hung", process=number, pid=ready[number].pid, silent_s=silence.limit_s)
                ready[number].kill()
            await asyncio.sleep(LOOK_S)

    async def _bury(self, child: LedProcess, code: int) -> None:
        """Count what was under way in a process that has ended as dropped, and say so."""
        books, number = child.snapshot.books, child.assignment.number
        self.listeners.connections.leave(number)
        lost = await give_up(child, self.loaded.state_dir / self.loaded.config.ledger.path)
        self.listeners.count_drops(number, books)
        self.together.bury(child)
        del self.children[number]
        self._refresh()
        if self._stop.is_set():
            self._failed = self._failed or code != 0
            if code == 0:
                return
        if child.reported_last and code == 0:
            log.info("process_ended", process=number, pid=child.pid, code=code)
            return
        log.error(
            "process_ended",
            process=number,
            pid=child.pid,
            code=code,
            **lost,
            run_id=child.assignment.run_id,
            hint="these were under way, and are counted as dropped. The ledger shows its run as unclean",
        )

    def _check(self, loaded: Loaded) -> None:
        """Raises `ConfigError` if a component refuses its configuration, or cannot be shared."""
        databases = Databases()
        settings = loaded.config.dead_letters
        letters = DeadLetters(loaded.state_dir / settings.path, settings, databases)
        made = components.make(loaded, letters, Shared(databases))
        if made.problems:
            raise loaded.error(made.problems)

    async def _reload(self, dry_run: bool) -> Changes:
        """Let every process try the reload, then let every process do it."""
        if self._stop.is_set():
            raise EnvironmentFault("streamd is stopping")
        new = load(self.loaded.path)
        refuse_fixed(self.loaded, new)
        self._check(new)
        self.listeners.refuse_new(new.config)
        if new.config.daemon.tests == "require":
            await require_tests(new.path, self._stop)
        if len(self.children) < self.count:
            raise EnvironmentFault("a process is being started again: try again when streamd is ready")
        changes = await rehearsed(self._by_number())
        if dry_run:
            return changes
        await reload_each(self._by_number())
        self.loaded = new
        logs.set_level(new.config.log.level)
        return changes

    async def _reload_for(self, dry_run: bool, peer: AskingProcess) -> dict[str, Any]:
        return await self.reloads.answer(dry_run, peer, self._spawn)

    async def _drain(self) -> int:
        self.view.phase = "draining"
        limit_s = self.loaded.config.daemon.drain_timeout + 2 * CLOSE_TIMEOUT_S
        self.announcer.stop(read_clock().mono_s + limit_s)
        self.listeners.close()
        for child in self._by_number():
            child.stop(is_last=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self.children:
                    await asyncio.sleep(0.02)
        return 1 if self.children or self._failed else 0

    async def _close(self) -> None:
        self._stop.set()
        self.listeners.close()
        for child in self._by_number():  # after a failed start, or after `drain_timeout`
            child.stop(is_last=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * CLOSE_TIMEOUT_S):
                while self.children:
                    await asyncio.sleep(0.02)
        for child in self._by_number():
            child.kill()
        closing = [server.close() for server in (self.control, self.admin) if server is not None]
        self.announcer.closing(len(closing) * CLOSE_TIMEOUT_S)
        await close_all(closing)
        for task in self._tasks:
            task.cancel()
        logs.flush_suppressed()
        if self.view.phase != "starting" or any(book.received for book in self.view.books.frames.values()):
            self._print_books()

    def _print_books(self) -> None:
        self._refresh()
        for line in summary(self.view.books):
            logs.print_line(line)

    def _by_number(self) -> list[LedProcess]:
        return [self.children[number] for number in sorted(self.children)]

    def parts(self, patience_s: float) -> Iterator[Part]:
        """What the watchdog observes: each process lives, reports, and has no stalled part."""
        for number in range(self.count):
            child = self.children.get(number)
            heard = None if child is None else child.heard_mono_s
            yield Part(f"process {number}", "it has reported nothing", True, heard, patience_s)
            for line in [] if child is None else child.snapshot.stalled:
                part = line.rpartition(" for ")[0]  # without the time, which grows
                yield Part(f"process {number}, {part}", "no progress", True, None, 0.0)

    def _refresh(self) -> None:
        self.view.books = self.together.books()
        self.view.dead_letters.clear()
        self.view.dead_letters.update(self.together.dead_letters())

    def _view(self) -> View:
        together = self.together
        return View(
            books=together.books(),
            refresh=self._refresh,
            buffers=lambda: snapshot.buffers(together.living),
            sinks=lambda: snapshot.sinks(together.living),
            sources=lambda: snapshot.sources(together.living),
            stages=lambda: snapshot.stages(together.living),
            loop_cpu_s=together.loop_cpu_s,
            take_least_waits_s=together.take_least_waits_s,
            dead_letters=Counter(),
            clock=read_clock,
            version=__version__,
            run_id=uuid.uuid4().hex[:12],
            started_at_wall_s=read_clock().wall_s,
            config_path=str(self.loaded.path.absolute()),
            state_dir=str(self.loaded.state_dir),
            ledger_trouble=together.ledger_trouble,
            lost_files=together.lost_files,
            unclean_runs=lambda: max((one.unclean_runs for one in together.living), default=0),
            holds=self._holds,
            page=lambda: None if self.admin is None else self.admin.page,
            free_bytes=self._free_bytes,
            processes=together.processes,
            troubles=together.troubles,
            tap_refusal=_TAP_REFUSAL,
        )

    def _holds(self) -> list[Place]:
        found: list[Place] = self.together.holds()
        if self.loaded.control_path is not None:
            found.append(("unix", str(self.loaded.control_path)))
        if self.admin is not None:
            found += self.admin.places
        return found

    def _free_bytes(self) -> int | None:
        try:
            return free_bytes(self.loaded.state_dir)
        except OSError:
            return None

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_end)
        return task

    def _on_end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("part_failed", part="the leading process", error=repr(error), exc_info=error)
            self._failed = True
            self._stop.set()

    def _on_hangup(self) -> None:
        self._spawn(self.reloads.ask(asked_by="SIGHUP"))

    def _on_signal(self, number: int) -> None:
        self._signals += 1
        if self._signals > 1:
            for child in self._by_number():
                child.kill()
            self._print_books()
            logs.print_line("second signal: ended at once")
            os._exit(1)
        log.info("stopping", signal=signal.Signals(number).name)
        self._stop.set()
