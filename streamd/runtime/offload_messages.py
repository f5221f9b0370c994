"""The messages between the daemon and its worker processes.

Messages are msgpack after a length of four bytes. The first message to a process is a pickled `Recipe`, and
its answer is `Made`. Each later message is a `Task`, and its answer is `Answer`.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from streamd.core.batch import Record
from streamd.core.contracts import BadRecord, Processed, Step
from streamd.core.errors import describe
from streamd.core.settings import Settings
from streamd.core.traceback_lines import RaisedElsewhere
from streamd.runtime.offload_wire import from_extension, pack, portable

LENGTH = struct.Struct(">I")
REASON_UNSENDABLE = "unsendable"
"""Reason of a record that msgpack cannot encode, for example with an object or a reference to itself."""


@dataclass(slots=True, frozen=True)
class Recipe:
    """How a worker process makes the step."""

    step: type[Step[Any]]
    config: Settings
    name: str
    pipeline: str
    base_dir: Path
    files: Any
    """The contents of the files of the step, as the daemon has loaded them."""
    memory_limit_bytes: int | None
    lane: int
    """The number of the process."""
    lanes: int
    """The number of processes among which the keys are divided; 1 if they are not."""
    state: dict[Any, bytes]
    """The state by key of this process."""


class Made(msgspec.Struct, gc=False, omit_defaults=True):
    """The answer to a recipe. `text` says why the step could not be made; empty if it was made."""

    text: str = ""
    kind: str = ""
    lines: list[str] = []
    deadline_mono_s: float | None = None
    """When a tick is due."""


class Task(msgspec.Struct, gc=False, omit_defaults=True):
    """A batch for a worker process, or a tick without records."""

    number: int
    records: list[dict[str, Any]]
    wall_s: float
    mono_s: float
    wants_owners: bool = False
    is_tick: bool = False
    forgotten: dict[Any, None] = {}
    """Keys of the state that the daemon has forgotten."""


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


class Answer(msgspec.Struct, gc=False, omit_defaults=True):
    """The result of the task with this number; other fields are as in `Processed`."""

    number: int
    records: list[dict[str, Any]] = []
    filtered: int = 0
    absorbed: int = 0
    emitted: int = 0
    rejects: list[Bad] = []
    counters: list[tuple[str, str, int]] = []
    """New counts of the step: name, reason, number."""
    owners: list[int] | None = None
    """For each record, the index of the input record that it was made of. None if the task did not want them,
    if the step does not know them, or if each record is made of the input record at its own place."""
    memory: str = ""
    """The text of a `MemoryError` at the limit of the process. Then there is no result."""
    changes: dict[Any, bytes | None] = {}
    """What has changed in the state by key."""
    deadline_mono_s: float | None = None
    """When the next tick is due."""
    fault: Made | None = None
    """A failure of the user's code that rejects no record: of a tick, or of `next_deadline`."""
    held_bytes: int = 0
    """The memory of a process that should be replaced; otherwise 0."""


def task_of(task: Task) -> tuple[list[Record], list[BadRecord], bytes]:
    """The records that can be sent, those that cannot, and the message."""
    records = task.records
    try:
        return records, [], pack(task)
    except Exception:  # noqa: BLE001 - a record may hold big integers, objects, or itself
        rejects = []
        sendable = []
        sent = []
    for record in records:
        try:
            carried = portable(record)
            pack(carried)
        except Exception as error:  # noqa: BLE001 - the same
            detail = describe(error)[:1000]
            rejects.append(
                BadRecord(record, REASON_UNSENDABLE, detail, kind=f"{REASON_UNSENDABLE}: {detail}")
            )
        else:
            sendable.append(record)
            sent.append(carried)
    task.records = sent
    return sendable, rejects, pack(task)


def answer_of(payload: bytes, number: int) -> Answer:
    """The answer to the task with this number. Raises `ValueError` for anything else."""
    try:
        answer = msgspec.msgpack.decode(payload, type=Answer, ext_hook=from_extension)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if answer.number != number:
        raise ValueError("it belongs to another batch")
    if any(n < 0 for _, _, n in answer.counters):
        raise ValueError("a counter is negative")
    return answer


def processed(given: list[Record], answer: Answer) -> Processed:
    """The result of the step. Raises `ValueError` if the numbers of records do not add up."""
    rejects = [
        BadRecord(
            given[bad.index] if 0 <= bad.index < len(given) else bad.record,
            bad.reason,
            bad.detail,
            RaisedElsewhere(bad.detail, bad.traceback) if bad.traceback else None,
            bad.kind,
        )
        for bad in answer.rejects
    ]
    done = Processed(answer.records, answer.filtered, answer.absorbed, answer.emitted, rejects)
    if min(done.filtered, done.absorbed, done.emitted) < 0 or len(given) + done.emitted != (
        len(done.records) + done.filtered + done.absorbed + len(rejects)
    ):
        raise ValueError("the numbers of its records do not add up")
    if answer.owners is not None:
        if len(answer.owners) != len(done.records) or not all(0 <= n < len(given) for n in answer.owners):
            raise ValueError("its records are made of others than those of the batch")
        done.owners = [given[n] for n in answer.owners]
    return done
