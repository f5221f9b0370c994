"""The answer of `/status`, decoded for the commands that read it."""

import http.client
from datetime import datetime
from pathlib import Path

import msgspec

from streamd.admin.client import STATUS_TIMEOUT_S, ask, refused
from streamd.core.errors import EnvironmentFault
from streamd.core.printable import escape

Book = dict[str, int | dict[str, int]]
Gauges = dict[str, float | dict[str, float]]


class BufferStatus(msgspec.Struct):
    """One queue of the answer."""

    records: int
    max_records: int
    bytes: int
    max_bytes: int


class SourceStatus(msgspec.Struct):
    """One source of the answer."""

    name: str
    listening: list[str]
    connections: int
    frames: Book
    buffer: BufferStatus | None
    certificate_expires_at: datetime | None
    gauges: Gauges = {}


class PipelineStatus(msgspec.Struct):
    """One source in one pipeline of the answer."""

    name: str
    source: str
    records: Book


class StepStatus(msgspec.Struct):
    """One step of the answer."""

    name: str
    pipeline: str
    notes: Book
    gauges: Gauges = {}


class DeliveryStatus(msgspec.Struct):
    """The deliveries of one pipeline to a sink."""

    records: Book


class Latency(msgspec.Struct):
    """Seconds from receive to commit."""

    p50: float | None
    p99: float | None


class SinkStatus(msgspec.Struct):
    """One sink of the answer."""

    name: str
    state: str
    reason: str | None
    last_commit_age_s: float | None
    commit_latency_s: Latency
    notes: Book
    buffer: BufferStatus | None
    deliveries: list[DeliveryStatus]
    retrying_for_s: float | None = None


class SharesStatus(msgspec.Struct):
    """Shares of the time over the last seconds."""

    busy: float
    blocked: float
    idle: float


class StageStatus(msgspec.Struct):
    """One stage of the answer."""

    kind: str
    name: str
    recent: SharesStatus
    under_way: int | None = None
    entered: int = msgspec.field(name="in", default=0)
    left: int = msgspec.field(name="out", default=0)
    elapsed_s: float = 0.0


class FullInStatus(msgspec.Struct):
    """The band of the seconds until a buffer is full. `high` is null if it may never be."""

    low: float
    median: float
    high: float | None


class OutlookStatus(msgspec.Struct):
    """What comes next for one buffer."""

    kind: str
    name: str
    capacity_per_s: float | None = None
    utilization: float | None = None
    wait_s: float | None = None
    min_sojourn_s: float | None = None
    standing_queue: bool = False
    full_in_s: FullInStatus | None = None
    overflow_probability: float | None = None
    horizon_s: float = 0.0
    overflow_expected: bool = False
    loop_slack_s: float | None = None
    bottleneck: bool = False


class ReloadFailureStatus(msgspec.Struct):
    """The failure of the last reload."""

    at: datetime
    why: list[str]


_BUSY_SHARE = 0.9
_BLOCKED_SHARE = 0.5


class StatusAnswer(msgspec.Struct):
    """The fields of `/status` that the commands read. docs/reference/status.md has all fields."""

    version: str
    run_id: str
    config: str
    config_loaded_at: datetime
    reload_failure: ReloadFailureStatus | None
    phase: str
    ready: bool
    reasons: list[str]
    uptime_s: float
    imbalances: list[str]
    sources: list[SourceStatus]
    pipelines: list[PipelineStatus]
    sinks: list[SinkStatus]
    dead_letters: dict[str, int]
    steps: list[StepStatus] = []
    holds: list[tuple[str, str]] = []
    stages: list[StageStatus] = []
    outlook: list[OutlookStatus] = []
    seq: int = 0
    started_at: datetime | None = None

    def limiting_step(self, source: str) -> str | None:
        """The step behind this source that is nearly always busy while its workers are blocked."""
        fed = {line.name for line in self.pipelines if line.source == source}
        workers = (stage for stage in self.stages if stage.kind == "workers")
        behind = [stage for stage in workers if not fed.isdisjoint(stage.name.split(", "))]
        if not any(stage.recent.blocked >= _BLOCKED_SHARE for stage in behind):
            return None
        of_pipelines = tuple(f"{name}." for stage in behind for name in stage.name.split(", "))
        steps = [
            stage
            for stage in self.stages
            if stage.kind == "step"
            and stage.recent.busy >= _BUSY_SHARE
            and stage.name.startswith(of_pipelines)
        ]
        return max(steps, key=lambda stage: stage.recent.busy).name if steps else None


def fetch(path: Path) -> tuple[StatusAnswer, bytes]:
    """The status of the daemon at this socket, decoded and as bytes. Raises `EnvironmentFault`."""
    answer = ask(path, "GET", "/status", STATUS_TIMEOUT_S)
    if answer.code != http.client.OK:
        raise refused(path, answer)
    return decoded(path, answer.body), answer.body


def decoded(path: Path, body: bytes) -> StatusAnswer:
    """Decode an answer of the daemon at this socket. Raises `EnvironmentFault` if it is not streamd's."""
    try:
        return msgspec.json.decode(body, type=StatusAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EnvironmentFault(f"the program that answers at {escape(str(path))} is not streamd") from error
