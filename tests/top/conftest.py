"""A status of a daemon with two sources, a pipeline and two sinks, and changes of it."""

import copy
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from streamd.admin.status_answer import StatusAnswer

BUFFER = {"records": 50, "max_records": 100, "bytes": 1000, "max_bytes": 100_000}


def stage(kind: str, name: str, elapsed_s: float, busy: float = 0.25, blocked: float = 0.5) -> dict[str, Any]:
    shares = {"busy": busy, "blocked": blocked, "idle": 1 - busy - blocked}
    return {"kind": kind, "name": name, "recent": shares, "in": 10, "out": 5, "elapsed_s": elapsed_s}


def document() -> dict[str, Any]:
    latency = {"p50": None, "p99": None}
    sink = {
        "state": "ok",
        "reason": None,
        "last_commit_age_s": None,
        "commit_latency_s": latency,
        "notes": {},
    }
    return {
        "seq": 7,
        "version": "0.1.0",
        "run_id": "a",
        "config": "/etc/streamd.toml",
        "config_loaded_at": "2026-12-01T00:00:00Z",
        "started_at": "2026-12-01T00:00:00Z",
        "reload_failure": None,
        "phase": "running",
        "ready": True,
        "reasons": [],
        "uptime_s": 7.0,
        "imbalances": [],
        "sources": [
            {
                "name": "udp", "listening": ["127.0.0.1:1"], "connections": 0, "buffer": dict(BUFFER),
                "certificate_expires_at": None,
                "frames": {"received": 1000, "decoded": 900, "rejected": {"json:syntax": 30},
                           "dropped": {}, "waiting": 70},
            },
            {
                "name": "tcp", "listening": [], "connections": 1, "buffer": None,
                "certificate_expires_at": None,
                "frames": {"received": 10, "decoded": 10, "rejected": {}, "dropped": {}, "waiting": 0},
            },
        ],
        "pipelines": [
            {"name": "main", "source": "udp", "records": {"in": 900, "out": 880, "rejected": {"0": 20}}},
            {"name": "main", "source": "tcp", "records": {"in": 10, "out": 10}},
        ],
        "sinks": [
            {**sink, "name": "store", "buffer": dict(BUFFER), "deliveries": [
                {"records": {"offered": 880, "stored": 800, "rejected": 1, "dropped": {}}},
                {"records": {"offered": 10, "stored": 9, "rejected": 0, "dropped": {}}},
            ]},
            {**sink, "name": "away", "buffer": None, "deliveries": []},
        ],
        "dead_letters": {},
        "stages": [
            stage("source", "udp", 7.0), stage("workers", "other, main", 7.0),
            stage("step", "main.enrich", 7.0), stage("sink", "store", 7.0, 0.004, 0.0),
        ],
        "outlook": [{"kind": "source", "name": "udp", "wait_s": 0.05}],
    }  # fmt: skip


@pytest.fixture
def status() -> Callable[..., StatusAnswer]:
    """Makes a status. The function that is given changes its document."""

    def make(change: Callable[[Any], object] = lambda _: None) -> StatusAnswer:
        made = copy.deepcopy(document())
        change(made)
        return msgspec.convert(made, StatusAnswer, strict=False)

    return make


@pytest.fixture
def later() -> Callable[[Any], None]:
    """Changes a document to one of two seconds later: 500 frames more, of which 100 are lost."""

    def change(made: Any) -> None:
        made["seq"] += 2
        for one in made["stages"]:
            one["elapsed_s"] += 2.0
        frames = made["sources"][0]["frames"]
        frames["received"] += 500
        frames["decoded"] += 400
        frames["dropped"] = {"buffer_full": 60}
        frames["kernel_dropped"] = 40

    return change
