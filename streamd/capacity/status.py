"""The keys of `/status` that the figures of a running daemon need."""

from collections.abc import Iterable

import msgspec

from streamd.core.settings import WhenFull

Book = dict[str, int | dict[str, int]]


class SeenBuffer(msgspec.Struct):
    """A bounded queue."""

    records: int
    bytes: int
    max_records: int
    max_bytes: int
    when_full: WhenFull


class SeenSource(msgspec.Struct):
    """A source and its book."""

    name: str
    buffer: SeenBuffer | None
    frames: Book


class SeenPipeline(msgspec.Struct):
    """A source in a pipeline, and the book."""

    name: str
    source: str
    records: Book


class SeenDelivery(msgspec.Struct):
    """The deliveries of a source through a pipeline to a sink."""

    pipeline: str
    source: str
    records: Book


class SeenSink(msgspec.Struct):
    """A sink and its deliveries."""

    name: str
    buffer: SeenBuffer | None
    deliveries: list[SeenDelivery]


class SeenStage(msgspec.Struct):
    """The work of a stage since it began."""

    kind: str
    name: str
    entered: int = msgspec.field(name="in")
    left: int = msgspec.field(name="out")
    elapsed_s: float
    busy_s: float
    under_way: int | None = None


class SeenOutlook(msgspec.Struct):
    """What the daemon itself knows of the stage behind a buffer."""

    kind: str
    name: str
    capacity_per_s: float | None = None


class SeenStatus(msgspec.Struct):
    """The keys of `/status` that the figures need."""

    run_id: str
    config_loaded_at: str
    uptime_s: float
    loop_lag_s: float
    sources: list[SeenSource]
    pipelines: list[SeenPipeline]
    sinks: list[SeenSink]
    stages: list[SeenStage]
    outlook: list[SeenOutlook] = []


def groups_of(pipelines: Iterable[SeenPipeline]) -> list[tuple[list[str], list[str]]]:
    """Pipelines and sources, grouped: pipelines that share a source, also indirectly, are together."""
    found: list[tuple[list[str], list[str]]] = []
    for name, source in ((pipeline.name, pipeline.source) for pipeline in pipelines):
        if source.startswith("@"):  # records that steps make at times of their own
            continue
        together = [group for group in found if name in group[0] or source in group[1]]
        found = [group for group in found if group not in together]
        names = [*dict.fromkeys([*(one for group in together for one in group[0]), name])]
        sources = [*dict.fromkeys([*(one for group in together for one in group[1]), source])]
        found.append((names, sources))
    return found


def count_of(book: Book, counter: str) -> int:
    """A counter of a book, summed over its reasons."""
    value = book.get(counter, 0)
    return sum(value.values()) if isinstance(value, dict) else value
