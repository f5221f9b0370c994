"""The place of one worker process, which is replaced when it hangs, dies, grows or is old enough."""

import asyncio
from typing import Any

import structlog

from streamd.core.batch import Record
from streamd.core.contracts import BadRecord, Offload, Processed, Step
from streamd.core.now import Now
from streamd.core.traceback_lines import RaisedElsewhere
from streamd.runtime.backoff import Backoff
from streamd.runtime.offload_child import END_TIMEOUT_S, ChildProcess
from streamd.runtime.offload_errors import Lost
from streamd.runtime.offload_memory import mb
from streamd.runtime.offload_messages import Answer, Recipe, Task, answer_of, processed, task_of
from streamd.runtime.offload_search import Search
from streamd.runtime.offload_state import LaneStates

log = structlog.get_logger()

FIRST_PAUSE_S, MOST_PAUSE_S = 1.0, 60.0
"""Pauses after ticks that cost their process, or for which none can be started."""


class Lane:
    """Processes one batch after the other in a worker process, which is started when it is first needed."""

    def __init__(
        self, step: Step[Any], settings: Offload, number: int = 0, states: LaneStates | None = None
    ) -> None:
        """`number` is that of the process; `states` has the state of the step, if it has one."""
        self.progress = 0
        """The number of calls that have ended."""
        self._step = step
        self._settings = settings
        self._lane = number
        self._states = states
        self._child: ChildProcess | None = None
        self._deadline_mono_s: float | None = None
        self._not_before_mono_s = 0.0
        """Earliest time of the next tick, after one that cost its process."""
        self._backoff = Backoff(FIRST_PAUSE_S, MOST_PAUSE_S)
        self._number = 0
        self._doubtful = False
        """Whether no part of a batch passed in the last search, and none since."""

    async def process(self, records: list[Record], now: Now) -> Processed:
        """Process the records; if that costs the process, search for the records at fault. Raises `Lost`."""
        try:
            done = await self._run(records, now)
        except Lost as lost:
            if not (self._settings.searches and lost.cost_process and (len(records) > 1 or lost.is_of_age)):
                raise
            return await self._search(records, now, lost)
        self._doubtful = False
        return done

    def next_deadline(self) -> float | None:
        """When `tick` is due. It is due at once if there is no process that knows the time."""
        deadline = self._deadline_mono_s
        if self._child is None or self._child.has_ended:
            deadline = 0.0
        return None if deadline is None else max(deadline, self._not_before_mono_s)

    async def tick(self, now: Now) -> Processed:
        """Tick the step if it is due. A loss of the process is a failure of the result."""
        try:
            await self._ready()
            if self._deadline_mono_s is None or self._deadline_mono_s > now.mono_s:
                return Processed([])
            done = await self._call(Task(self._new_number(), [], now.wall_s, now.mono_s, is_tick=True), now)
        except Lost as lost:
            self._not_before_mono_s = now.mono_s + self._backoff.next_s()
            kind = lost.kind or f"{lost.reason}: in a tick"
            return Processed([], failures=[BadRecord({}, lost.reason, lost.detail, lost.error, kind)])
        self._backoff.reset()
        return done

    async def end(self, patience_s: float = END_TIMEOUT_S) -> str:
        """End the process, by force after `patience_s`; returns how it ended."""
        child, self._child = self._child, None
        return await child.end(patience_s) if child is not None else ""

    async def _search(self, records: list[Record], now: Now, lost: Lost) -> Processed:
        clock = asyncio.get_running_loop().time
        settings = self._settings
        search = Search(
            records, lost, each=settings.each, doubtful=self._doubtful, at_s=clock(),
            timeout_s=settings.timeout_s,
        )  # fmt: skip
        while part := search.next(clock()):
            try:
                search.passed(await self._run(part, now))
            except Lost as again:
                if again.cost_process:
                    search.failed(again)
                else:
                    search.give_up(again)
        self._doubtful = not search.has_passed
        context = self._step.context
        log.warning(
            "step_batch_searched",
            pipeline=context.pipeline,
            step=context.name,
            reason=lost.reason,
            detail=lost.detail,
            records=len(records),
            rejected=len(search.done.rejects),
            processes=search.losses,
        )
        return search.done

    async def _run(self, records: list[Record], now: Now) -> Processed:
        """Process the records in one call. Raises `Lost`; then the process has ended."""
        number = self._new_number()
        wants_owners = self._settings.partition is not None
        return await self._call(Task(number, records, now.wall_s, now.mono_s, wants_owners), now)

    def _new_number(self) -> int:
        self._number += 1
        return self._number

    async def _call(self, task: Task, now: Now) -> Processed:
        if self._states is not None:
            task.forgotten = self._states.begin(self._lane, now)
        sendable, rejects, payload = task_of(task)
        if not sendable and not task.is_tick:
            if self._states is not None:
                self._states.not_told(self._lane, task.forgotten)
            return Processed([], rejects=rejects)
        child = await self._ready()
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                encoded = await child.call(payload)
            answer = answer_of(encoded, task.number)
            done = processed(sendable, answer) if not answer.memory else Processed([])
        except TimeoutError:
            await self.end(0)
            text = f"not done after {self._settings.timeout_s:g} s; its process was killed"
            raise Lost("timeout", text, cost_process=True) from None
        except (EOFError, OSError):
            raise Lost("worker_died", await self.end(0), cost_process=True) from None
        except ValueError as error:  # includes the errors of msgspec
            await self.end(0)
            text = f"the worker process sent an invalid answer: {error}"
            raise Lost("bad_result", text, cost_process=True) from None
        except BaseException:
            child.kill()
            raise
        finally:
            self.progress += 1
        if answer.memory:
            await self.end()
            raise Lost("memory", answer.memory, cost_process=True, is_of_age=child.batches > 1)
        if answer.held_bytes or child.batches == self._settings.max_batches:
            await self._replace(answer.held_bytes)
        self._take(answer, done)
        done.rejects += rejects
        return done

    async def _replace(self, held_bytes: int) -> None:
        """End the process between two batches; `held_bytes` if it is near its memory limit."""
        if held_bytes:
            log.info(
                "step_process_replaced",
                pipeline=self._step.context.pipeline,
                step=self._step.context.name,
                held=mb(held_bytes),
                memory_limit=mb(self._settings.memory_limit_bytes or 0),
            )
        await self.end()

    def _take(self, answer: Answer, done: Processed) -> None:
        """Take all that an answer has beside records."""
        self._deadline_mono_s = answer.deadline_mono_s
        if self._states is not None:
            self._states.put(answer.changes)
        if (fault := answer.fault) is not None:
            raised = RaisedElsewhere(fault.text, fault.lines)
            done.failures = [BadRecord({}, "exception", fault.text, raised, fault.kind)]
        for name, reason, n in answer.counters:
            self._step.context.counters.add(name, n, reason)

    async def _ready(self) -> ChildProcess:
        """The process, with its step made. Raises `Lost` if that is not possible."""
        if self._child is not None:
            if not self._child.has_ended:
                return self._child
            await self.end(0)
        starting = asyncio.create_task(ChildProcess.start())
        try:
            self._child = await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._child = await starting  # now `end` can end it
            raise
        except OSError as error:
            raise Lost("worker_died", f"the worker process cannot start: {error}") from None
        context = self._step.context
        recipe = Recipe(
            type(self._step),
            self._step.config,
            context.name,
            context.pipeline,
            context.base_dir,
            self._step.files(),
            self._settings.memory_limit_bytes,
            self._lane,
            self._settings.concurrency,
            self._states.part_of(self._lane) if self._states is not None else {},
        )
        try:
            self._deadline_mono_s = (await self._child.make(recipe)).deadline_mono_s
        except Lost:
            self._child = None
            raise
        return self._child
