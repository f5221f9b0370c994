"""What runs in a worker process: it makes the step anew and answers one batch after the other.

Messages are msgpack behind a length of four bytes. The first one is a pickle of the daemon's, answered with
nothing, or with what went wrong. Standard output is standard error here, whatever the function prints.
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
from streamd.core.printing import print_at_once
from streamd.core.traceback_lines import traceback_lines
from streamd.runtime.offload_wire import from_extension, pack, portable

LENGTH = struct.Struct(">I")
REASON_UNSENDABLE = "unsendable"
"""Of a record that msgpack cannot hold: an integer beyond 64 bits, an object, a circle."""
MAX_SHOWN_CHARS = 1000
MAX_KINDS = 16
"""Kinds of errors whose traceback is sent; the log shows no more of a step."""
_PR_SET_PDEATHSIG = 1
OOM_SCORE_ADJ = 500
"""Where memory runs out the kernel is to end the worker that grew, and not the daemon."""


class Task(msgspec.Struct, gc=False):
    """A batch for a worker process."""

    records: list[dict[str, Any]]
    wall_s: float
    mono_s: float


class Bad(msgspec.Struct, gc=False):
    """A reject: of the record given at `index`, or with -1 of `record`; `traceback` is there once a kind."""

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
    """What became of the batch sent with `mono_s`; the other fields as in `Processed`."""

    mono_s: float
    records: list[dict[str, Any]]
    filtered: int
    absorbed: int
    emitted: int
    rejects: list[Bad]
    counters: list[tuple[str, str, int]] = []
    """What the step has counted meanwhile: name, reason, number."""


def main(parent: int) -> None:
    """Work until the input ends or the process `parent` is gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before we had asked
        return
    with suppress(OSError), Path("/proc/self/oom_score_adj").open("w") as score:
        score.write(str(max(OOM_SCORE_ADJ, int(Path("/proc/self/oom_score_adj").read_text()))))
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole service: we end when the daemon has
        signal.signal(number, signal.SIG_IGN)
    with os.fdopen(os.dup(0), "rb") as source, os.fdopen(os.dup(1), "wb") as target:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        print_at_once()
        recipe = _read(source)
        if recipe is None:
            return
        try:
            step = _made(recipe)
        except BaseException as error:  # noqa: BLE001 - importing anybody's module may raise anything
            _write(target, _fault(error))
            return
        _write(target, b"")
        told: set[str] = set()
        while (payload := _read(source)) is not None:
            _write(target, answer(step, payload, told))
        asyncio.run(step.close())


def answer(step: Step[Any], payload: bytes, told: set[str]) -> bytes:
    """The answer to one message. `told` are the kinds of errors whose traceback the daemon has already."""
    task = msgspec.msgpack.decode(payload, type=Task, ext_hook=from_extension)
    try:
        done = step.process(task.records, Now(task.wall_s, task.mono_s))
    except Exception as error:  # noqa: BLE001 - a step is anybody's code: its failure costs its batch
        kind, detail = failure_of(error, step.context.base_dir)
        rejects = [BadRecord(record, "exception", detail, error, kind) for record in task.records]
        done = Processed([], rejects=rejects)
    counters = step.context.counters
    counted = [(name, reason, n) for (name, reason), n in counters.items()]
    counters.clear()
    return _encoded(task, done, told, counted)


def _encoded(task: Task, done: Processed, told: set[str], counted: list[tuple[str, str, int]]) -> bytes:
    places = {id(record): n for n, record in enumerate(task.records)}
    rejects = []
    for bad in done.rejects:
        place = places.get(id(bad.record), -1)
        kind, lines = bad.kind, []
        if bad.error is not None and kind not in told:
            if len(told) < MAX_KINDS:
                told.add(kind)
                lines = list(map(_utf8, traceback_lines(bad.error)))
            else:
                kind = ""
        record = {} if place >= 0 else _shown(bad.record)
        rejects.append(Bad(place, bad.reason, bad.detail, kind, lines, record))
    answer = Answer(task.mono_s, done.records, done.filtered, done.absorbed, done.emitted, rejects, counted)
    try:
        return pack(answer)
    except Exception:  # noqa: BLE001 - whatever a step made
        answer.records = []
    for record in done.records:
        try:
            carried = portable(record)
            pack(carried)
        except Exception as error:  # noqa: BLE001 - the same
            detail = f"what the function returned cannot leave its process: {describe(error)}"
            rejects.append(Bad(-1, REASON_UNSENDABLE, detail[:MAX_SHOWN_CHARS], record=_shown(record)))
        else:
            answer.records.append(carried)
    return pack(answer)


def _shown(record: Record) -> Record:
    """The record with a text in place of each value that cannot be sent."""
    shown: Record = {}
    for key, value in record.items():
        name = key.encode("utf-8", "replace").decode()
        try:
            msgspec.msgpack.encode(value)
        except Exception:  # noqa: BLE001 - whatever a step made
            try:
                shown[name] = repr(value)[:MAX_SHOWN_CHARS].encode("utf-8", "replace").decode()
            except Exception:  # noqa: BLE001 - a `repr` is anybody's code too
                shown[name] = f"({type(value).__name__})"
        else:
            shown[name] = value
    return shown


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _fault(error: BaseException) -> bytes:
    """Why the step cannot be made: a `ConfigError` says so itself, with the place."""
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
    """The next message; None at the end, in the middle of one too."""
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
