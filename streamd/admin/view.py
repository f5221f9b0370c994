"""What the admin address and the control socket show, taken from the daemon when somebody asks."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from streamd.core.books import Books
from streamd.core.errors import Place
from streamd.core.histogram import Histogram
from streamd.core.now import Now
from streamd.core.settings import WhenFull

Phase = Literal["starting", "running", "draining"]


@dataclass(slots=True, frozen=True)
class BufferGauge:
    """One bounded queue now: `source` (frames wait for the workers) or `sink` (records for the commit)."""

    name: str
    kind: Literal["source", "sink"]
    records: int
    size_bytes: int
    max_records: int
    max_bytes: int
    when_full: WhenFull

    @property
    def full(self) -> bool:
        """One of the bounds is reached."""
        return self.records >= self.max_records or self.size_bytes >= self.max_bytes


@dataclass(slots=True, frozen=True)
class SinkGauge:
    """One sink now. `trouble` is the reason why it retries, None while it does not."""

    name: str
    trouble: str | None
    trouble_since_mono_s: float
    last_commit_mono_s: float | None
    latency_s: Histogram
    """Seconds from receive to commit of what was stored."""


@dataclass(slots=True, frozen=True)
class SourceGauge:
    """One source now: the addresses it is bound to and, for a stream, its open connections.

    With TLS also until when (seconds since 1970) its certificate holds.
    """

    name: str
    listening: tuple[str, ...]
    connections: int = 0
    certificate_expires_at_wall_s: float | None = None


@dataclass(slots=True, frozen=True)
class StageGauge:
    """One stage now, and how it has spent its time; `runtime/meter.py` says what each state means.

    `name` is that of the source or sink, of the pipeline (several that share a source: `a, b`), or of the
    pipeline and the step (`main.python[0]`).
    """

    kind: Literal["source", "workers", "step", "sink"]
    name: str
    state: Literal["busy", "blocked", "idle"]
    entered: int
    left: int
    elapsed_s: float
    busy_s: float
    blocked_s: float
    idle_s: float
    under_way: int | None = None
    """Batches that a waiting step works on."""


@dataclass(slots=True, frozen=True)
class ReloadFailure:
    """A reload that was refused: when, and the lines that say why."""

    at_wall_s: float
    why: str


@dataclass(slots=True)
class View:
    """Everything the admin address and the control socket may say; the daemon makes it and sets `phase`.

    The callables are asked once for each answer and must not wait. `refresh` brings numbers that are kept
    elsewhere (kernel drops) into the books; what it raises is an error of the answer, not of the daemon.
    """

    books: Books
    refresh: Callable[[], None]
    buffers: Callable[[], Iterable[BufferGauge]]
    sinks: Callable[[], Iterable[SinkGauge]]
    sources: Callable[[], Iterable[SourceGauge]]
    dead_letters: Counter[str]
    """What became of the dead letters, by fate."""
    clock: Callable[[], Now]
    version: str
    run_id: str
    started_at_wall_s: float
    config_path: str
    state_dir: str = ""
    phase: Phase = "starting"
    reloaded_at_wall_s: float | None = None
    """When the configuration was last read again and taken."""
    reload_failure: ReloadFailure | None = None
    """Of the newest reload, where it failed."""
    stages: Callable[[], Iterable[StageGauge]] = tuple
    """In the order of the flow: sources, workers with their waiting steps, sinks."""
    admin_refused: Counter[str] = field(default_factory=Counter)
    """Requests to the admin address that got no answer, or not all of it, by reason."""
    control_refused: Counter[str] = field(default_factory=Counter)
    """The same of the control socket."""
    ledger_trouble: Callable[[], str | None] = lambda: None
    """Why the ledger could not be written the last time; None where it could."""
    lost_files: Callable[[], Iterable[str]] = tuple
    """Files of databases that were removed or replaced while in use: a sentence each."""
    unclean_runs: Callable[[], int] = lambda: 0
    """Runs found at the start that had begun and not ended."""
    holds: Callable[[], Iterable[Place]] = tuple
    """The addresses, sockets, locked files and databases that nobody else may have meanwhile."""
    free_bytes: Callable[[], int | None] = lambda: None
    """What the file system of the state folder has left; None where that cannot be seen."""
