"""Connects components to pipelines. Nothing is opened yet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamd import components, registry
from streamd.config import Loaded, groups
from streamd.core.books import Books
from streamd.core.contracts import AnyCodec, AnySink, AnySource, Sockets, Source, SourceContext
from streamd.core.counters import Counters
from streamd.core.dead_letter import DeadLetterStore
from streamd.core.downstream import Downstream
from streamd.core.errors import EnvironmentFault
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.settings import SourceSettings
from streamd.core.shared import Shared
from streamd.runtime.claims import Claims
from streamd.runtime.delivery import Delivery
from streamd.runtime.fanout import Fanout, Output
from streamd.runtime.feed import Feed, Route
from streamd.runtime.intake import Intake
from streamd.runtime.pipeline import Pipeline
from streamd.runtime.redaction import SourceRedaction
from streamd.runtime.schema_checks import SchemaChecks
from streamd.runtime.stage import Stage
from streamd.runtime.worker import Workers
from streamd.state.key import key_of


@dataclass(slots=True)
class Assembly:
    """The connected components of one configuration, by the names of their tables in it."""

    sources: dict[str, AnySource] = field(default_factory=dict)
    intakes: dict[str, Intake] = field(default_factory=dict)
    workers: dict[str, Workers] = field(default_factory=dict)
    """By the names of the pipelines that share sources, joined by `, `."""
    sinks: dict[str, AnySink] = field(default_factory=dict)
    deliveries: dict[str, Delivery] = field(default_factory=dict)
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    settings: dict[str, SourceSettings] = field(default_factory=dict)
    """By source."""
    redactions: dict[str, SourceRedaction | None] = field(default_factory=dict)
    """By source; None without the option `redact`."""
    contexts: dict[str, SourceContext] = field(default_factory=dict)
    """By source. A source that a reload keeps receives its new context in `become`."""

    async def open_sources(self) -> None:
        """Open all sources, after the sinks. Raises `EnvironmentFault`."""
        for name, source in self.sources.items():
            if (numbering := source.numbering()) is not None:
                for sink in self.sinks.values():
                    for frame in sink.stored_frames(numbering.tenure.sequence):
                        numbering.divide_behind(frame)
            await source.open(self.intakes[name])


def assemble(
    loaded: Loaded,
    books: Books,
    dead_letters: DeadLetterStore,
    shared: Shared,
    clock: Callable[[], Now],
    sockets: Sockets | None,
    before: tuple[Loaded, Assembly] | None = None,
) -> Assembly:
    """Make every component and connect them. Without `sockets` no source is made.

    With `before`, a running component that would be made the same again is reused: sinks with their buffers,
    steps with their state, listeners with their sockets, connections and queues. `before` is not changed.
    Raises `ConfigError` if a component refuses its configuration, and `EnvironmentFault` if a file that a
    source needs is missing or invalid.
    """
    was = before[1] if before is not None else Assembly()
    made = components.make(loaded, dead_letters, shared, _running(before), books)
    if made.problems:
        raise loaded.error(made.problems)
    config = loaded.config
    parts = Assembly(sinks=made.sinks)
    for name, sink in config.sinks.items():
        kept = made.sinks[name] is was.sinks.get(name)
        parts.deliveries[name] = (
            was.deliveries[name]
            if kept
            else Delivery(name, made.sinks[name], sink.batch, sink.buffer, books, clock)
        )
    for name, source in config.sources.items():
        book = books.source(name)
        parts.settings[name] = source
        parts.redactions[name] = components.redaction_of(loaded, name)
        if sockets is not None:
            _make_source(name, loaded, made, parts, was, book.counters, sockets)
        parts.intakes[name] = was.intakes.get(name) or Intake(source.buffer, source.when_full, book, clock)
    pipelines = parts.pipelines = {
        name: _pipeline(name, loaded, made, parts, books, dead_letters, clock, was)
        for name in config.pipelines
    }
    running_codecs = {
        feed.frames.source: feed.codec for workers in was.workers.values() for feed in workers.feeds
    }
    for group in groups(config):
        feeds = []
        for source_name in dict.fromkeys(s for name in group for s in config.pipelines[name].sources):
            readers = [name for name in group if source_name in config.pipelines[name].sources]
            routes = [Route(pipelines[name], books.pipeline(source_name, name)) for name in readers]
            codec = made.codecs[source_name]
            before_reload: AnyCodec | None = None
            running_codec = running_codecs.get(source_name)
            redaction = parts.redactions[source_name]
            codec.redacted = redaction is not None and redaction.changes_records
            connect(source_name, codec, [route.pipeline for route in routes], made.sinks)
            if running_codec is not None and running_codec.holds:
                settings = config.sources[source_name]
                if _same(running_codec, codec) and _place(settings) == _place(was.settings[source_name]):
                    running_codec.redacted = codec.redacted
                    codec = running_codec
                elif codec.holds and codec.can_adopt(running_codec):
                    before_reload = running_codec
            intake = parts.intakes[source_name]
            feeds.append(
                Feed(
                    intake.buffer,
                    codec,
                    intake.book,
                    routes,
                    intake.connections,
                    taken=intake.taken,
                    before=before_reload,
                    resumes=_resumes(config.sources[source_name]),
                    checks=None
                    if codec.schema is None
                    else SchemaChecks(source_name, codec.schema, books.quality),
                    redaction=redaction,
                    claims=_claims(loaded, parts, source_name, routes, books),
                )
            )
        name = ", ".join(group)
        parts.workers[name] = Workers(
            feeds,
            dead_letters,
            clock,
            count=config.daemon.workers,
            max_batch=config.daemon.max_batch,
            meter=was.workers[name].meter if name in was.workers else None,
        )
    return parts


def _claims(
    loaded: Loaded, parts: Assembly, source: str, routes: Sequence[Route], books: Books
) -> Claims | None:
    """Claims the inputs of a source that reads partitions; None without sources."""
    context = parts.contexts.get(source)
    if context is None or not loaded.config.sources[source].claims_inputs:
        return None
    pipelines = [route.pipeline for route in routes]
    return Claims(source, context.downstream, pipelines, parts.sinks, books, lambda step: repr(key_of(step)))


def _resumes(source: SourceSettings) -> bool:
    """Whether the source continues where it stopped, so that a restart misses nothing."""
    return source.claims_inputs or registry.load("sources", source.type).numbering is not Source.numbering


def _make_source(
    name: str,
    loaded: Loaded,
    made: components.Components,
    parts: Assembly,
    was: Assembly,
    counters: Counters,
    sockets: Sockets,
) -> None:
    source = loaded.config.sources[name]
    cls: type[AnySource] = registry.load("sources", source.type)
    context = parts.contexts[name] = SourceContext(
        name,
        counters,
        made.framers.get(name),
        loaded.base_dir,
        loaded.state_dir,
        sockets,
        files=_files(cls, name, source, loaded),
        needs_first=made.codecs[name].needs_first,
        configured=frozenset(loaded.config.sources),
        downstream=was.contexts[name].downstream if name in was.contexts else Downstream(),
        redact_peer=None if (redaction := parts.redactions[name]) is None else redaction.peer,
    )
    running = was.sources.get(name)
    parts.sources[name] = (
        running
        if running is not None and type(running) is cls and running.can_become(source)
        else cls(source, context)
    )


def _same(one: AnyCodec, other: AnyCodec) -> bool:
    return (
        type(one) is type(other)
        and one.config == other.config
        and one.schema is other.schema
        and one.typed == other.typed
    )


def _place(source: SourceSettings) -> tuple[bool, bool]:
    """The arguments of `place_behind` for the source's codec."""
    return source.streams, source.cut_by is not None


def _files(cls: type[AnySource], name: str, source: SourceSettings, loaded: Loaded) -> Any:
    try:
        return cls.read_files(source, loaded.base_dir)
    except EnvironmentFault as fault:
        raise EnvironmentFault(f"source {name}: {fault}") from None


def _running(before: tuple[Loaded, Assembly] | None) -> components.Before | None:
    if before is None:
        return None
    loaded, parts = before
    steps = {name: [stage.step for stage in pipeline.stages] for name, pipeline in parts.pipelines.items()}
    return components.Before(loaded, steps, parts.sinks)


def _pipeline(
    name: str,
    loaded: Loaded,
    made: components.Components,
    parts: Assembly,
    books: Books,
    dead_letters: DeadLetterStore,
    clock: Callable[[], Now],
    was: Assembly,
) -> Pipeline:
    outputs = [
        Output(sink, parts.deliveries[sink].buffer, made.conditions.get((name, sink)))
        for sink in loaded.config.pipelines[name].sinks
    ]
    running = {stage.step: stage for stage in was.pipelines[name].stages} if name in was.pipelines else {}
    stages = [Stage(label, step, running.get(step), clock) for label, step in made.steps[name]]
    return Pipeline(name, stages, Fanout(outputs, books, dead_letters), dead_letters, clock, books)


def connect(
    source: str, codec: AnyCodec, pipelines: Sequence[Pipeline], sinks: Mapping[str, AnySink]
) -> None:
    """Let the codec make structs if all pipelines of its source take them, so that no record becomes a dict.

    `sinks` has all sinks by name.
    """
    schema = codec.schema
    codec.typed = schema is not None and not codec.redacted
    for pipeline in pipelines:
        to_sinks = schema is not None and _reach_sinks(pipeline, schema, sinks)
        if schema is not None and to_sinks:
            pipeline.flat_schemas[source] = schema
        if pipeline.wants_dicts or not (pipeline.stages or to_sinks):
            codec.typed = False


def _reach_sinks(pipeline: Pipeline, schema: Schema, sinks: Mapping[str, AnySink]) -> bool:
    """Whether values of the schema may reach the sinks of the pipeline without dicts."""
    return (
        all(stage.reads_columns for stage in pipeline.stages)
        and not pipeline.fanout.has_conditions
        and all(sinks[output.sink].accepts_typed(schema) for output in pipeline.fanout.outputs)
    )
