"""The data that the admin address and the control socket show, read from the daemon at each request."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from streamd.core.books import Books
from streamd.core.contracts import KernelQueue
from streamd.core.errors import Place
from streamd.core.histogram import Histogram
from streamd.core.now import Now
from streamd.core.settings import WhenFull
from streamd.runtime.taps import Taps

Phase = Literal["starting", "running", "draining"]


@dataclass(slots=True, frozen=True)
class BufferGauge:
    """One bounded queue now. Kind `source` holds frames for the workers, kind `sink` records for the sink."""

    name: str
    kind: Literal["source", "sink"]
    records: int
    size_bytes: int
    max_records: int
    max_bytes: int
    when_full: WhenFull

    @property
    def full(self) -> bool:
        """Whether one of the limits is reached."""
        return self.records >= self.max_records or self.size_bytes >= self.max_bytes


@dataclass(slots=True, frozen=True)
class SinkGauge:
    """One sink now. `trouble` is the reason why it retries, or None.

    `writing_since_mono_s` is the start of the first attempt of the write under way, None if none is;
    `progress` changes when the output takes a part of it, and `usual_write_s` is what recent writes took.
    """

    name: str
    trouble: str | None
    trouble_since_mono_s: float
    last_commit_mono_s: float | None
    latency_s: Histogram
    """Seconds from receive to commit of stored records."""
    writing_since_mono_s: float | None = None
    usual_write_s: float = 0.0
    progress: int = 0


@dataclass(slots=True, frozen=True)
class SourceGauge:
    """One source now: its bound addresses and open connections.

    With TLS also the time (seconds since 1970) at which its certificate expires.
    """

    name: str
    listening: tuple[str, ...]
    connections: int = 0
    certificate_expires_at_wall_s: float | None = None
    kernel_queue: KernelQueue | None = None


@dataclass(slots=True, frozen=True)
class StageGauge:
    """One stage now, and its time in each state. `runtime/meter.py` defines the states.

    `name` is the name of the source or sink, of the pipeline (of several that share a source: `a, b`), or of
    the pipeline and the step (`main.python[0]`).
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
    """Batches under way in an offloaded step. None for other stages."""
    batches: int = 0
    """Batches that the stage has finished. 0 for a source and for a step."""
    max_batch: int = 0
    """Most records of a batch of workers or of a sink."""
    max_wait_s: float = 0.0
    """How long a sink lets records wait for others."""


@dataclass(slots=True, frozen=True)
class ProcessGauge:
    """One of several processes now. `pid` is None while it waits to be started again."""

    number: int
    pid: int | None
    run_id: str
    state: Literal["starting", "running", "draining", "waiting"]
    started_at_wall_s: float
    ended: int
    """How often it has ended and was started again."""
    hung: int = 0
    """How often it was killed because it reported nothing."""


@dataclass(slots=True, frozen=True)
class ReloadFailure:
    """A refused reload: its time and the lines of the refusal."""

    at_wall_s: float
    why: str


@dataclass(slots=True)
class View:
    """The data of the admin address and the control socket. The daemon makes it and sets `phase`.

    The callables are called once for each answer and must not block. `refresh` copies counters of the kernel
    into the books. An exception in it fails the answer, not the daemon.
    """

    books: Books
    refresh: Callable[[], None]
    buffers: Callable[[], Iterable[BufferGauge]]
    sinks: Callable[[], Iterable[SinkGauge]]
    sources: Callable[[], Iterable[SourceGauge]]
    dead_letters: Counter[str]
    """The number of dead letters by fate."""
    clock: Callable[[], Now]
    version: str
    run_id: str
    started_at_wall_s: float
    config_path: str
    state_dir: str = ""
    phase: Phase = "starting"
    reloaded_at_wall_s: float | None = None
    """The time of the last successful reload."""
    reload_failure: ReloadFailure | None = None
    """The failure of the last reload, or None if it succeeded."""
    stages: Callable[[], Iterable[StageGauge]] = tuple
    """In the order of the flow: sources, workers with their offloaded steps, sinks."""
    loop_cpu_s: Callable[[], float] = lambda: 0.0
    """CPU time of the thread of the event loop, which calls this."""
    take_least_waits_s: Callable[[], dict[str, float]] = dict
    """The least wait in each source's buffer since the last call, for the one caller that observes it."""
    page: Callable[[], tuple[list[str], str] | None] = lambda: None
    """Where the admin address is served, and its token. None if it is turned off, or not open yet."""
    admin_refused: Counter[str] = field(default_factory=Counter)
    """Requests to the admin address without a complete answer, by reason."""
    control_refused: Counter[str] = field(default_factory=Counter)
    """Requests to the control socket without a complete answer, by reason."""
    ledger_trouble: Callable[[], str | None] = lambda: None
    """The error of the last attempt to write the ledger, or None if it succeeded."""
    lost_files: Callable[[], Iterable[str]] = tuple
    """One sentence for each database file that was removed or replaced while in use."""
    unclean_runs: Callable[[], int] = lambda: 0
    """The number of runs without an end found at the start."""
    holds: Callable[[], Iterable[Place]] = tuple
    """The addresses, sockets, locked files and databases that no other process may use meanwhile."""
    taps: Taps = field(default_factory=Taps)
    """The points of the running assembly, and the taps that look at them."""
    processes: Callable[[], Iterable[ProcessGauge]] = tuple
    """The processes that share the work (`daemon.processes`); none if this process does it alone."""
    troubles: Callable[[], Iterable[str]] = tuple
    """Further reasons why data does not flow."""
    tap_refusal: str | None = None
    """Why no tap can be opened; None if it can."""
    free_bytes: Callable[[], int | None] = lambda: None
    """Free space in the file system of the state folder. None if it cannot be read."""
