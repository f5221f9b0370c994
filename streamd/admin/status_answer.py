"""The answer of `/status`, decoded for the commands that read it."""

import http.client
from datetime import datetime
from pathlib import Path

import msgspec

from streamd.admin.client import STATUS_TIMEOUT_S, ask, refused
from streamd.core.errors import EnvironmentFault
from streamd.core.printable import escape

Book = dict[str, int | dict[str, int]]


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


class ReloadFailureStatus(msgspec.Struct):
    """The failure of the last reload."""

    at: datetime
    why: list[str]


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
