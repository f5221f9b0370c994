"""The main program of a worker process: makes the step and answers one batch after the other.

Messages are msgpack after a length of four bytes. The first message is a pickle from the daemon; its answer
is empty, or a `Fault`. Standard output is redirected to standard error, so the user's function can print.
"""

import asyncio
import ctypes
import os
import pickle
import signal
import struct
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
from streamd.runtime.offload_wire import from_extension, pack, portable

LENGTH = struct.Struct(">I")
REASON_UNSENDABLE = "unsendable"
"""Reason of a record that msgpack cannot encode, for example with an object or a reference to itself."""
MAX_SHOWN_CHARS = 1000
MAX_KINDS = 16
"""Most kinds of errors whose traceback is sent. The log shows no more kinds of a step."""
_PR_SET_PDEATHSIG = 1
OOM_SCORE_ADJ = 500
"""If memory runs out, the kernel should kill the worker process and not the daemon."""


class Task(msgspec.Struct, gc=False):
    """A batch for a worker process."""

    records: list[dict[str, Any]]
    wall_s: float
    mono_s: float


class Bad(msgspec.Struct, gc=False):
    """A reject of the input record at `index`, or of `record` if `index` is -1.

    Only the first reject of a kind has a `traceback`.
    """

    index: int
    reason: str
    detail: str = ""
    kind: str = ""
    traceback: list[str] = []
    record: dict[str, Any] = {}


class Fault(msgspec.Struct, gc=False):
    """Why the step could not be made."""

    text: str
    kind: str = ""
    lines: list[str] = []


class Answer(msgspec.Struct, gc=False):
    """The result of the batch that was sent with `mono_s`; other fields are as in `Processed`."""

    mono_s: float
    records: list[dict[str, Any]]
    filtered: int
    absorbed: int
    emitted: int
    rejects: list[Bad]
    counters: list[tuple[str, str, int]] = []
    """New counts of the step: name, reason, number."""


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
        try:
            step = _made(recipe)
        except BaseException as error:  # noqa: BLE001 - importing the user's code may raise anything
            _write(target, _fault(error))
            return
        _write(target, b"")
        sent: set[str] = set()
        while (payload := _read(source)) is not None:
            _write(target, answer(step, payload, sent))
        asyncio.run(step.close())


def answer(step: Step[Any], payload: bytes, sent: set[str]) -> bytes:
    """The answer to one message. `sent` are the kinds of errors whose traceback was sent before."""
    task = msgspec.msgpack.decode(payload, type=Task, ext_hook=from_extension)
    try:
        done = step.process(task.records, Now(task.wall_s, task.mono_s))
    except Exception as error:  # noqa: BLE001 - a failure of the user's code rejects the batch
        kind, detail = failure_of(error, step.context.base_dir)
        rejects = [BadRecord(record, "exception", detail, error, kind) for record in task.records]
        done = Processed([], rejects=rejects)
    counters = step.context.counters
    counted = [(name, reason, n) for (name, reason), n in counters.items()]
    counters.clear()
    return _encoded(task, done, sent, counted)


def _encoded(task: Task, done: Processed, sent: set[str], counted: list[tuple[str, str, int]]) -> bytes:
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
    answer = Answer(task.mono_s, done.records, done.filtered, done.absorbed, done.emitted, rejects, counted)
    try:
        return pack(answer)
    except Exception:  # noqa: BLE001 - a record may hold any object
        answer.records = []
    for record in done.records:
        try:
            carried = portable(record)
            pack(carried)
        except Exception as error:  # noqa: BLE001 - the same
            detail = f"the result of the function cannot be sent to the daemon: {describe(error)}"
            rejects.append(Bad(-1, REASON_UNSENDABLE, detail[:MAX_SHOWN_CHARS], record=_shown(record)))
        else:
            answer.records.append(carried)
    return pack(answer)


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


def _fault(error: BaseException) -> bytes:
    """Why the step cannot be made. The text of a `StreamdError` already has the place."""
    kind, text = failure_of(error)
    if isinstance(error, StreamdError):
        text = str(error)
    lines = traceback_lines(error.__cause__ or error)
    return msgspec.msgpack.encode(Fault(_utf8(text), _utf8(kind), list(map(_utf8, lines))))


def _made(recipe: bytes) -> Step[Any]:
    cls, config, name, pipeline, base_dir, files = pickle.loads(recipe)  # noqa: S301 - the daemon made it
    cls.take_files(files)
    step: Step[Any] = cls(config, StepContext(name, pipeline, None, base_dir))
    step.open()
    return step


def _read(source: BinaryIO) -> bytes | None:
    """The next message; None at the end of the input, also inside a message."""
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    payload = source.read(length)
    return payload if len(payload) == length else None


def _write(target: BinaryIO, payload: bytes) -> None:
    target.write(LENGTH.pack(len(payload)))
    target.write(payload)
    target.flush()
