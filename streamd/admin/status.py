"""The answer to `/status`: books, queues and faults."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from streamd.admin.recent import Recent
from streamd.admin.view import BufferGauge, SinkGauge, StageGauge, View
from streamd.admin.watch import Watch
from streamd.core.books import Books, FrameBook
from streamd.core.now import Now
from streamd.core.sums import Book


def status(view: View, watch: Watch, now: Now, seq: int) -> dict[str, Any]:
    """The whole document. docs/reference/status.md describes its keys. Keys may be added, never removed."""
    view.refresh()
    buffers = {(buffer.kind, buffer.name): buffer for buffer in view.buffers()}
    reasons = watch.readiness.reasons(now)
    unbalanced = imbalances(view.books, list(buffers.values()))
    failure = view.reload_failure
    frames = {book.source: _counts(book) for book in view.books.frames.values()}
    return {
        "seq": seq,
        "version": view.version,
        "run_id": view.run_id,
        "config": view.config_path,
        "state_dir": view.state_dir,
        "config_loaded_at": _utc(view.reloaded_at_wall_s or view.started_at_wall_s),
        "reload_failure": failure and {"at": _utc(failure.at_wall_s), "why": failure.why.splitlines()},
        "started_at": _utc(view.started_at_wall_s),
        "uptime_s": round(now.wall_s - view.started_at_wall_s, 3),
        "phase": view.phase,
        "ready": not reasons,
        "reasons": reasons,
        "loop_lag_s": round(watch.lag.worst_s, 6),
        "balanced": not unbalanced,
        "imbalances": unbalanced,
        "sources": [
            {
                "name": source.name,
                "listening": list(source.listening),
                "connections": source.connections,
                "certificate_expires_at": _utc(source.certificate_expires_at_wall_s),
                "buffer": _buffer(buffers.get(("source", source.name))),
                "frames": frames.get(source.name, {}),
                "gauges": view.books.source(source.name).counters.gauge_values(),
            }
            for source in view.sources()
        ],
        "pipelines": [
            {"name": book.pipeline, "source": book.source, "records": _counts(book)}
            for book in view.books.records.values()
        ],
        "steps": [
            {
                "name": step,
                "pipeline": pipeline,
                "notes": counters.numbers(),
                "gauges": counters.gauge_values(),
            }
            for (pipeline, step), counters in view.books.steps.items()
            if counters or counters.gauges
        ],
        "sinks": [
            {
                **_sink(sink, now),
                "notes": view.books.sink(sink.name).numbers(),
                "buffer": _buffer(buffers.get(("sink", sink.name))),
                "deliveries": [
                    {
                        "pipeline": book.pipeline,
                        "source": book.source,
                        "records": _counts(book),
                    }
                    for book in view.books.deliveries.values()
                    if book.sink == sink.name
                ],
            }
            for sink in view.sinks()
        ],
        "processes": [
            {
                "number": process.number,
                "pid": process.pid,
                "run_id": process.run_id,
                "state": process.state,
                "started_at": _utc(process.started_at_wall_s),
                "ended": process.ended,
                "hung": process.hung,
            }
            for process in view.processes()
        ],
        "stages": [_stage(stage, watch.recent, now) for stage in view.stages()],
        "outlook": watch.outlooks.document(),
        "holds": [list(place) for place in view.holds()],
        "dead_letters": dict(view.dead_letters),
        "taps": {
            "open": len(view.taps),
            "opened": view.taps.counts.opened,
            "refused": view.taps.counts.refused,
            "shown": view.taps.counts.shown,
            "skipped": dict(+view.taps.counts.skipped),
        },
        "admin": {"refused": dict(view.admin_refused)},
        "control": {"refused": dict(view.control_refused)},
    }


def _utc(wall_s: float | None) -> str | None:
    return None if wall_s is None else datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="seconds")


def imbalances(books: Books, buffers: list[BufferGauge]) -> list[str]:
    """Impossible sums of the books: a negative rest, or a rest below the content of the buffer."""
    found = []
    left: Counter[tuple[str, str]] = Counter()
    for book in books.every():
        if book.left < 0:
            found.append(f"{'/'.join(book.place)}: {book.terms[-1].name} is {book.left}")
        if book.buffer is not None:
            left[book.buffer, book.place[-1]] += book.left
    for buffer in buffers:
        counted = left[buffer.kind, buffer.name]
        if buffer.records > counted:
            found.append(
                f"{buffer.kind} {buffer.name}: {buffer.records} in the buffer, {counted} in the books"
            )
    return found


def _counts(book: Book) -> dict[str, Any]:
    """{counter: n}, or {counter: {reason: n}} for counters with reasons."""
    return book.numbers() | (book.counters.numbers() if isinstance(book, FrameBook) else {})


def _buffer(buffer: BufferGauge | None) -> dict[str, Any] | None:
    if buffer is None:
        return None
    return {
        "records": buffer.records,
        "bytes": buffer.size_bytes,
        "max_records": buffer.max_records,
        "max_bytes": buffer.max_bytes,
        "when_full": buffer.when_full,
        "full": buffer.full,
    }


def _stage(stage: StageGauge, recent: Recent, now: Now) -> dict[str, Any]:
    shares = recent.shares(stage, now.mono_s)
    return {
        "kind": stage.kind,
        "name": stage.name,
        "state": stage.state,
        "in": stage.entered,
        "out": stage.left,
        "under_way": stage.under_way,
        "elapsed_s": round(stage.elapsed_s, 6),
        "busy_s": round(stage.busy_s, 6),
        "blocked_s": round(stage.blocked_s, 6),
        "idle_s": round(stage.idle_s, 6),
        "recent": {
            "over_s": round(shares.over_s, 3),
            "busy": round(shares.busy, 4),
            "blocked": round(shares.blocked, 4),
            "idle": round(shares.idle, 4),
        },
    }


def _sink(sink: SinkGauge, now: Now) -> dict[str, Any]:
    def ago(then_s: float | None) -> float | None:
        return None if then_s is None else round(now.mono_s - then_s, 3)

    latency = sink.latency_s
    return {
        "name": sink.name,
        "state": "ok" if sink.trouble is None else "retrying",
        "reason": sink.trouble,
        "retrying_for_s": None if sink.trouble is None else ago(sink.trouble_since_mono_s),
        "writing_for_s": ago(sink.writing_since_mono_s),
        "last_commit_age_s": ago(sink.last_commit_mono_s),
        "commit_latency_s": {
            "count": latency.count, "p50": latency.quantile(0.5), "p99": latency.quantile(0.99),
        },
    }  # fmt: skip
