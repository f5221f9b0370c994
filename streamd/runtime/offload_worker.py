"""The main program of a worker process: makes the step and answers one batch after the other.

Standard output is redirected to standard error, so the user's function can print.
"""

import asyncio
import ctypes
import math
import os
import pickle
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from streamd.core.batch import Record
from streamd.core.contracts import BadRecord, Processed, Step, StepContext
from streamd.core.errors import StreamdError, describe
from streamd.core.failure import failure_of
from streamd.core.now import Now
from streamd.core.printing import flush_each_line
from streamd.core.traceback_lines import traceback_lines
from streamd.runtime.offload_memory import MemoryLimit, mb
from streamd.runtime.offload_messages import (
    LENGTH,
    REASON_UNSENDABLE,
    Answer,
    Bad,
    Made,
    Recipe,
    Task,
)
from streamd.runtime.offload_partitions import owner_test
from streamd.runtime.offload_wire import from_extension, pack, portable

MAX_SHOWN_CHARS = 1000
MAX_KINDS = 16
"""Most kinds of errors whose traceback is sent. The log shows no more kinds of a step."""
_PR_SET_PDEATHSIG = 1
OOM_SCORE_ADJ = 500
"""If memory runs out, the kernel should kill the worker process and not the daemon."""


def main(parent: int) -> None:
    """Work until the input ends or the process `parent` is gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the daemon ended before the call of prctl
        return
    with suppress(OSError), Path("/proc/self/oom_score_adj").open("w") as score:
        score.write(str(max(OOM_SCORE_ADJ, int(Path("/proc/self/oom_score_adj").read_text()))))
    for number in (signal.SIGINT, signal.SIGTERM):  # systemd signals the whole service; the daemon drains
        signal.signal(number, signal.SIG_IGN)
    with os.fdopen(os.dup(0), "rb") as source, os.fdopen(os.dup(1), "wb") as target:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        flush_each_line()
        recipe = _read(source)
        if recipe is None:
            return
        pid = os.getpid()
        try:
            worker = Worker(pickle.loads(recipe))  # noqa: S301 - the daemon made it
            made = worker.made
        except BaseException as error:  # noqa: BLE001 - importing the user's code may raise anything
            made = _fault(error)
        _answer(target, pid, pack(made))
        if made.text:
            return
        while (payload := _read(source)) is not None:
            _answer(target, pid, worker.answer(payload))
        asyncio.run(worker.step.close())


class Worker:
    """The step in this process."""

    def __init__(self, recipe: Recipe) -> None:
        """Make and open the step. Raises any exception of the user's code, and `MemoryError`."""
        recipe.step.take_files(recipe.files)
        self.step: Step[Any] = recipe.step(
            recipe.config, StepContext(recipe.name, recipe.pipeline, None, recipe.base_dir)
        )
        self.step.open()
        self._fault: Exception | None = None
        """A failure of the last task that rejects no record."""
        limit_bytes = recipe.memory_limit_bytes
        self._limit = MemoryLimit(limit_bytes) if limit_bytes is not None else None
        self._limit_text = f"; memory_limit is {mb(limit_bytes)}" if limit_bytes is not None else ""
        self._sent: set[str] = set()
        """Kinds of errors whose traceback was sent before."""
        self._carried = self.step.carried
        if self._carried is not None:
            self._carried.put(recipe.state)
            offload = self.step.offload
            if offload is not None and offload.partition is not None:
                self._carried.owns = owner_test(offload.partition, recipe.lane, recipe.lanes)
        self.made = Made(deadline_mono_s=self._deadline()) if self.step.is_timed else Made()

    def answer(self, payload: bytes) -> bytes:
        """The answer to one task."""
        task = msgspec.msgpack.decode(payload, type=Task, ext_hook=from_extension)
        if task.forgotten and self._carried is not None:
            self._carried.forget(task.forgotten)
        if self._limit is None:
            return self._encoded(task, self._process(task), 0)
        self._limit.set()
        try:
            done = self._process(task)
        finally:
            self._limit.lift()
        for bad in done.rejects:
            if issubclass(type(bad.error), MemoryError):
                return pack(Answer(task.number, memory=_utf8(bad.detail + self._limit_text)))
        return self._encoded(task, done, self._limit.full_bytes())

    def _deadline(self) -> float | None:
        deadline = self.step.next_deadline()
        if deadline is None:
            return None
        if math.isnan(deadline := float(deadline)):
            raise ValueError("next_deadline is not a number")
        return deadline

    def _process(self, task: Task) -> Processed:
        self._fault = None
        now = Now(task.wall_s, task.mono_s)
        try:
            done = self.step.tick(now) if task.is_tick else self.step.process(task.records, now)
            if done.commit is not None:
                done.commit()
        except Exception as error:  # noqa: BLE001 - a failure of the user's code rejects the batch
            if task.is_tick:
                self._fault = error
                return Processed([])
            kind, detail = failure_of(error, self.step.context.base_dir)
            rejects = [BadRecord(record, "exception", detail, error, kind) for record in task.records]
            return Processed([], rejects=rejects)
        return done

    def _encoded(self, task: Task, done: Processed, full_bytes: int) -> bytes:
        counters = self.step.context.counters
        counted = [(name, reason, n) for (name, reason), n in counters.items()]
        counters.clear()
        rejects = _rejects(task, done, self._sent) if done.rejects else []
        answer = Answer(
            task.number, done.records, done.filtered, done.absorbed, done.emitted, rejects, counted,
            held_bytes=full_bytes,
        )  # fmt: skip
        if done.changes:
            answer.changes = dict(done.changes)
        if self.step.is_timed:
            try:
                answer.deadline_mono_s = self._deadline()
            except Exception as error:  # noqa: BLE001 - it is the user's code
                self._fault = self._fault or error
        if self._fault is not None:
            answer.fault = _fault(self._fault, self.step.context.base_dir)
        return _sendable(task, done, answer)


def _sendable(task: Task, done: Processed, answer: Answer) -> bytes:
    """The answer with the records that can be sent; the others become rejects."""
    if task.wants_owners and (done.filtered or done.absorbed or done.emitted):
        answer.owners = _owners(task, done)
    try:
        return pack(answer)
    except Exception:  # noqa: BLE001 - a record may hold any object
        answer.records, answer.owners = [], None
        sent: list[int] = []
    for place, record in enumerate(done.records):
        try:
            carried = portable(record)
            pack(carried)
        except Exception as error:  # noqa: BLE001 - the same
            detail = f"the result of the function cannot be sent to the daemon: {describe(error)}"
            answer.rejects.append(Bad(-1, REASON_UNSENDABLE, detail[:MAX_SHOWN_CHARS], record=_shown(record)))
        else:
            answer.records.append(carried)
            sent.append(place)
    if task.wants_owners and (owners := _owners(task, done)) is not None:
        answer.owners = [owners[place] for place in sent]
    return pack(answer)


def _owners(task: Task, done: Processed) -> list[int] | None:
    if done.owners is None:
        return None
    places = {id(record): n for n, record in enumerate(task.records)}
    return [places[id(owner)] for owner in done.owners]


def _rejects(task: Task, done: Processed, sent: set[str]) -> list[Bad]:
    places = {id(record): n for n, record in enumerate(task.records)}
    rejects = []
    for bad in done.rejects:
        place = places.get(id(bad.record), -1)
        kind, lines = bad.kind, []
        if bad.error is not None and kind not in sent:
            if len(sent) < MAX_KINDS:
                sent.add(kind)
                lines = list(map(_utf8, traceback_lines(bad.error)))
            else:
                kind = ""
        record = {} if place >= 0 else _shown(bad.record)
        rejects.append(Bad(place, bad.reason, bad.detail, kind, lines, record))
    return rejects


def _shown(record: Record) -> Record:
    """The record, with each value that cannot be sent replaced by a text."""
    shown: Record = {}
    for key, value in record.items():
        name = key.encode("utf-8", "replace").decode()
        try:
            msgspec.msgpack.encode(value)
        except Exception:  # noqa: BLE001 - a value may be any object
            try:
                shown[name] = repr(value)[:MAX_SHOWN_CHARS].encode("utf-8", "replace").decode()
            except Exception:  # noqa: BLE001 - `__repr__` may be the user's code
                shown[name] = f"({type(value).__name__})"
        else:
            shown[name] = value
    return shown


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _fault(error: BaseException, base_dir: Path | None = None) -> Made:
    """A failure of the user's code. The text of a `StreamdError` already has the place."""
    kind, text = failure_of(error, base_dir)
    if isinstance(error, StreamdError):
        text = str(error)
    lines = traceback_lines(error.__cause__ or error)
    return Made(_utf8(text), _utf8(kind), list(map(_utf8, lines)))


def _read(source: BinaryIO) -> bytes | None:
    """The next message; None at the end of the input, also inside a message."""
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    payload = source.read(length)
    return payload if len(payload) == length else None


def _answer(target: BinaryIO, pid: int, payload: bytes) -> None:
    """Write an answer, unless this is a child that the user's code has forked: it ends."""
    if os.getpid() != pid:
        os._exit(0)
    target.write(LENGTH.pack(len(payload)))
    target.write(payload)
    target.flush()
