"""The contract of sinks, and their context."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from streamd.core.batch import Batch
from streamd.core.contracts.encoder import AnyEncoder
from streamd.core.counters import Counters
from streamd.core.dead_letter import DeadLetterStore
from streamd.core.errors import Place
from streamd.core.schema import Schema
from streamd.core.settings import SinkSettings
from streamd.core.shared import Shared
from streamd.core.tenure import Claimed, Tenure

C = TypeVar("C", bound=SinkSettings)
"""The settings of the sink."""


@dataclass(slots=True)
class Written:
    """The result of a committed write, with one entry for each batch.

    `rejected` has the indexes of the rejected records in ascending order, `replaced` the number of rows that
    were replaced. A sink that drops records, for example because its output is closed for ever, sets
    `dropped`: the indexes of these records in ascending order, each with the reason for the books. One that
    knows which records it has stored sets `left_out` in the same way (see `positions`).
    """

    rejected: list[Sequence[int]]
    replaced: list[int]
    dropped: Sequence[Mapping[int, str]] | None = None
    left_out: Sequence[Mapping[int, str]] | None = None

    @classmethod
    def whole(cls, batches: int) -> Self:
        """The result for batches without rejects and replaced rows."""
        return cls([()] * batches, [0] * batches)

    @property
    def rejected_counts(self) -> list[int]:
        """The number of rejected records of each batch."""
        return list(map(len, self.rejected))


@dataclass(slots=True, frozen=True)
class SinkContext:
    """The name, folders, schemas and shared objects that a sink can use."""

    name: str
    schemas: "dict[str, Schema]"
    state_dir: Path
    """Base folder of relative output paths."""
    dead_letters: DeadLetterStore
    shared: Shared
    """Objects that components of the process share, for example `context.shared(Databases)`."""
    counters: Counters = field(default_factory=Counters)
    """Counters of the sink that belong to no sum. They go on if a reload makes a new sink."""
    base_dir: Path = Path()
    """Folder of the configuration file: base folder of relative input paths."""
    encoder: AnyEncoder | None = None
    """The encoder that the settings of the sink name, for this sink alone; None if they name none."""


class Sink(ABC, Generic[C]):
    """Writes batches to an output. `write` is called once at a time and returns after the commit."""

    opens_beside: ClassVar[bool] = False
    """Whether a reload can open the sink before it closes the sink that this one replaces."""
    in_each_process: ClassVar[bool] = False
    """Whether several processes (`daemon.processes`) may write to the output at the same time."""
    why_one_process: ClassVar[str] = ""
    """Why they may not, as the end of a sentence that begins with "because"."""
    counters: ClassVar[Mapping[str, str]] = {}
    """The counters that belong to no sum, each with its meaning in one sentence."""

    class Config(SinkSettings):
        """The options of this sink."""

    def __init__(self, config: C, context: SinkContext) -> None:
        self.config = config
        self.context = context
        context.counters.declare(self.counters)

    def accepts_typed(self, schema: Schema) -> bool:
        """Whether the sink can write structs of this schema without making dicts of them."""
        del schema
        return False

    @property
    def trouble(self) -> tuple[str, float] | None:
        """A fault of the output, even if no write is under way, and its start (monotonic clock, seconds)."""
        return None

    @property
    def progress(self) -> int:
        """A number that changes whenever the output has taken a part of a write.

        A slow receiver then shows as slow, not as hung. It stays 0 for a sink whose writes succeed whole.
        """
        return 0

    @abstractmethod
    async def open(self) -> None:
        """Open the output. Raises `EnvironmentFault` or `ConfigError`."""

    @abstractmethod
    def rehearse(self) -> list[str]:
        """Raise the error that `open` would raise, in the same words, and change nothing.

        Makes no file, table or lock. Returns the SQL statements with which `open` would change an existing
        database. Blocks. Raises `Taken` only if there is no other error: a running daemon of the same
        configuration may hold the place.
        """

    def stored_frames(self, sequence: str) -> Collection[int]:
        """The frames of a `Tenure.sequence` with which the stored records end, for each pipeline.

        Frames that are read again are divided behind them, and `write` leaves out what is stored.
        """
        del sequence
        return ()

    @property
    def places(self) -> list[Place]:
        """The places, as in `Taken`, that the open sink holds, except databases."""
        return []

    @abstractmethod
    async def write(self, batches: Sequence[Batch]) -> Written:
        """Commit all batches. The dead letters of records that cannot be stored are committed first.

        Raises `SinkError` if the same batches should be tried again; the next call gets the same objects.
        Then either no record was committed, or the sink remembers the committed ones and skips them.
        """

    @property
    def keeps_positions(self) -> bool:
        """Whether the sink stores in the transaction of the records how far an input is stored.

        Then each record of an input that is read again (see `Tenure`) is stored once.
        """
        return False

    async def claim(self, tenure: Tenure, pipeline: str) -> Claimed:
        """From now on this process alone stores the records of an input that come through the pipeline.

        What another process has not committed by now it cannot commit any more. Raises `SinkError`.
        """
        raise NotImplementedError

    async def keep_state(self, tenure: Tenure, pipeline: str, state: bytes) -> None:
        """Store the state of the steps before the sink; `claim` returns it. Raises `SinkError`.

        If another process has claimed the input, it ends the tenure and stores nothing.
        """
        raise NotImplementedError

    @abstractmethod
    async def close(self) -> None:
        """Close the output and release its resources."""


AnySink = Sink[Any]
"""A sink with settings of any type."""
