"""Gauges of the assembled parts at this moment, for status, metrics and systemd."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from streamd.admin.view import BufferGauge, SinkGauge, SourceGauge, StageGauge
from streamd.assembly import Assembly
from streamd.core.errors import Place
from streamd.runtime.buffer import Buffer
from streamd.runtime.meter import Meter


def buffers(parts: Assembly) -> Iterator[BufferGauge]:
    """Every bounded queue: first the queues of the sources, then the queues of the sinks."""
    queues: list[tuple[str, Literal["source", "sink"], Buffer[Any]]] = [
        *((name, "source", intake.buffer) for name, intake in parts.intakes.items()),
        *((name, "sink", delivery.buffer) for name, delivery in parts.deliveries.items()),
    ]
    for name, kind, queue in queues:
        yield BufferGauge(
            name, kind, queue.records, queue.size_bytes, queue.max_records, queue.max_bytes, queue.when_full
        )


def sinks(parts: Assembly) -> Iterator[SinkGauge]:
    """Every sink with its trouble, its commit latency and the write under way."""
    for name, delivery in parts.deliveries.items():
        sink = parts.sinks[name]
        trouble, since_mono_s = sink.trouble or (delivery.trouble, delivery.trouble_since_mono_s)
        yield SinkGauge(
            name,
            trouble,
            since_mono_s,
            delivery.last_commit_mono_s,
            delivery.latency_s,
            delivery.writing_since_mono_s,
            delivery.usual_write_s,
            sink.progress,
        )


def sources(parts: Assembly) -> Iterator[SourceGauge]:
    """Every source with its address."""
    for name, source in parts.sources.items():
        yield SourceGauge(
            name,
            (str(source.address),),
            source.open_connections,
            source.certificate_expires_at_wall_s,
            source.kernel_queue,
        )


def stages(parts: Assembly, mono_s: float) -> Iterator[StageGauge]:
    """Every stage, in the order in which records pass them."""
    for name, intake in parts.intakes.items():
        yield _stage("source", name, intake.meter, mono_s)
    for name, workers in parts.workers.items():
        yield replace(_stage("workers", name, workers.meter, mono_s), max_batch=workers.max_batch)
        for pipeline in workers.pipelines:
            for step in pipeline.stages:
                if step.offloaded is not None:
                    meter = step.offloaded.meter
                    gauge = _stage("step", f"{pipeline.name}.{step.name}", meter, mono_s)
                    yield replace(gauge, under_way=meter.under_way)
    for name, delivery in parts.deliveries.items():
        yield replace(
            _stage("sink", name, delivery.meter, mono_s),
            entered=delivery.entered,
            max_batch=delivery.max_batch,
            max_wait_s=delivery.max_wait_s,
        )


def _stage(
    kind: Literal["source", "workers", "step", "sink"], name: str, meter: Meter, mono_s: float
) -> StageGauge:
    return StageGauge(
        kind, name, meter.state, meter.entered, meter.left, *meter.times(mono_s), batches=meter.batches
    )


def take_least_waits_s(parts: Assembly) -> dict[str, float]:
    """The least wait in the buffer of each source since the last call, if a frame was taken out of it."""
    waits = {name: intake.take_least_wait_s() for name, intake in parts.intakes.items()}
    return {name: wait_s for name, wait_s in waits.items() if wait_s is not None}


def places(parts: Assembly) -> Iterator[Place]:
    """The files, addresses and sockets that the open sources and sinks use."""
    for source in parts.sources.values():
        yield from source.places
    for sink in parts.sinks.values():
        yield from sink.places
