"""The contract of sinks, and of what they are given."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from streamd.core.batch import Batch
from streamd.core.counters import Counters
from streamd.core.dead_letter import DeadLetterOffice
from streamd.core.errors import Place
from streamd.core.schema import Schema
from streamd.core.settings import SinkSettings
from streamd.core.shared import Shared

C = TypeVar("C", bound=SinkSettings)
"""The settings of a kind of sink."""


@dataclass(slots=True)
class Written:
    """What one write did, now that it is committed: for each batch the indexes of the records that it has
    rejected, in order, and the number of rows replaced.

    `dropped` is given by a sink whose way out is gone for good: per batch what it gave up (reason `closed`).
    """

    rejected: list[Sequence[int]]
    replaced: list[int]
    dropped: list[int] | None = None

    @classmethod
    def whole(cls, batches: int) -> Self:
        """Nothing of so many batches was rejected, and no row replaced."""
        return cls([()] * batches, [0] * batches)

    @property
    def rejected_counts(self) -> list[int]:
        """How many records of each batch were rejected."""
        return list(map(len, self.rejected))


@dataclass(slots=True, frozen=True)
class SinkContext:
    """What a sink is given. `state_dir` is where relative output paths start."""

    name: str
    schemas: "dict[str, Schema]"
    state_dir: Path
    dead_letters: DeadLetterOffice
    shared: Shared
    """What the components of the process share, as `context.shared(Databases)`."""
    counters: Counters = field(default_factory=Counters)
    """What the sink counts beside its sums; they go on where a reload makes the sink anew."""
    base_dir: Path = Path()
    """Folder of the file that configured it: relative paths of what it reads start here."""


class Sink(ABC, Generic[C]):
    """An edge that writes. One `write` at a time; it returns when everything in it is committed."""

    opens_beside: ClassVar[bool] = False
    """Whether it can be opened while the one that it replaces on a reload is not closed yet."""
    counters: ClassVar[Mapping[str, str]] = {}
    """The names it counts beside its sums, each with its meaning in one sentence."""

    class Config(SinkSettings):
        """What the configuration may say of this sink."""

    def __init__(self, config: C, context: SinkContext) -> None:
        self.config = config
        self.context = context
        context.counters.declare(self.counters)

    def accepts_typed(self, schema: Schema) -> bool:
        """Whether structs of this schema can be written without a dict being made of them."""
        del schema
        return False

    @property
    def trouble(self) -> tuple[str, float] | None:
        """What is wrong though nothing may be written just now, and since when on the monotonic clock."""
        return None

    @abstractmethod
    async def open(self) -> None:
        """Make ready. Raises `EnvironmentFault` or `ConfigError`."""

    @abstractmethod
    def rehearse(self) -> list[str]:
        """Raise what `open` would, in the same words, and change nothing: no file, table or lock is made.

        Returns what `open` would change in what is there (SQL statements). It blocks. Raises `Taken` last:
        what a running daemon of this configuration holds is no refusal.
        """

    @property
    def places(self) -> list[Place]:
        """What it holds while it is open, as `Taken` names it; databases are known to the process."""
        return []

    @abstractmethod
    async def write(self, batches: Sequence[Batch]) -> Written:
        """Commit all batches; records that cannot be stored go to the dead letters first.

        Raises `SinkError` where nothing was committed and the same batches should be tried again.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release everything."""


AnySink = Sink[Any]
"""A sink of whatever kind."""
