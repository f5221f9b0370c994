"""Pipelines made of their configuration: every component built, nothing opened yet."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from streamd import registry
from streamd.config import Loaded, component
from streamd.core.books import Books
from streamd.core.contracts import (
    Codec,
    Framer,
    Processor,
    Sink,
    SinkContext,
    Source,
    SourceContext,
    StepContext,
)
from streamd.core.dead_letter import DeadLetterOffice
from streamd.core.errors import ConfigError
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.settings import SourceSettings, StreamSettings
from streamd.runtime.delivery import Delivery
from streamd.runtime.fanout import Fanout, Output
from streamd.runtime.intake import Intake
from streamd.runtime.worker import Feed, Step, Workers
from streamd.storage.databases import Databases


@dataclass(slots=True)
class Assembly:
    """Everything a configuration names, connected."""

    sources: dict[str, Source] = field(default_factory=dict)
    intakes: dict[str, Intake] = field(default_factory=dict)
    workers: dict[str, Workers] = field(default_factory=dict)
    sinks: dict[str, Sink] = field(default_factory=dict)
    deliveries: dict[str, Delivery] = field(default_factory=dict)


def assemble(
    loaded: Loaded,
    books: Books,
    dead_letters: DeadLetterOffice,
    databases: Databases,
    clock: Callable[[], Now],
) -> Assembly:
    """Build every component and connect them. Raises `ConfigError` for what only a component can see."""
    config = loaded.config
    assembly = Assembly()
    for name, sink in config.sinks.items():
        context = SinkContext(name, loaded.schemas, loaded.state_dir, dead_letters, databases)
        with _place(f"sinks.{name}"):
            assembly.sinks[name] = registry.load("sinks", sink.type)(sink, context)
        assembly.deliveries[name] = Delivery(
            name, assembly.sinks[name], sink.batch, sink.buffer, books, clock
        )
    for name, source in config.sources.items():
        assembly.sources[name], assembly.intakes[name] = _source(name, source, books)
    for name, settings in config.pipelines.items():
        steps = _steps(loaded, name)
        sinks = [assembly.sinks[sink] for sink in settings.sinks]
        feeds = []
        for source_name in settings.sources:
            codec = _codec(loaded, source_name)
            schema = codec.schema
            codec.typed = (
                schema is not None and not steps and all(sink.accepts_typed(schema) for sink in sinks)
            )
            intake = assembly.intakes[source_name]
            feeds.append(Feed(intake.buffer, codec, intake.book, books.pipeline(source_name, name)))
        outputs = [Output(sink, assembly.deliveries[sink].buffer) for sink in settings.sinks]
        assembly.workers[name] = Workers(
            name,
            feeds,
            steps,
            Fanout(outputs, books),
            dead_letters,
            clock,
            count=config.daemon.workers,
            max_batch=config.daemon.max_batch,
        )
    return assembly


def _source(name: str, settings: SourceSettings, books: Books) -> tuple[Source, Intake]:
    cls: type[Source] = registry.load("sources", settings.type)
    book = books.source(name)
    source = cls(settings, SourceContext(name, book, _framer_maker(settings)))
    when_full = settings.buffer.when_full or cls.when_full
    return source, Intake(settings.buffer, when_full, book)


def _framer_maker(settings: SourceSettings) -> Callable[[], Framer] | None:
    if not isinstance(settings, StreamSettings):
        return None
    cls, options = component("framing", settings.framing)
    return lambda: cls(options, settings.max_frame, settings.oversize)


def _codec(loaded: Loaded, source_name: str) -> Codec:
    settings = loaded.config.sources[source_name]
    cls, options = component("codecs", settings.codec)
    schema = loaded.schemas[settings.schema_name] if settings.schema_name is not None else None
    with _place(f"sources.{source_name}.codec"):
        codec: Codec = cls(options, schema)
    return codec


def _steps(loaded: Loaded, pipeline: str) -> list[Step]:
    settings = loaded.config.pipelines[pipeline]
    names = {loaded.config.sources[source].schema_name for source in settings.sources}
    shared = names.pop() if len(names) == 1 else None
    schema: Schema | None = loaded.schemas[shared] if shared is not None else None
    fields = frozenset(schema.fields) if schema is not None else None
    steps = []
    for index, spec in enumerate(settings.steps):
        cls, options = component("processors", spec)
        name = f"{spec.type}[{index}]"
        with _place(f"pipelines.{pipeline}.steps[{index}]"):
            context = StepContext(name, pipeline, schema, loaded.base_dir, fields)
            processor: Processor = cls(options, context)
        steps.append(Step(name, processor))
        fields = processor.fields_after()
    return steps


@contextmanager
def _place(path: str) -> Iterator[None]:
    """Say where in the configuration a component found fault with it."""
    try:
        yield
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
