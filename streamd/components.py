"""Makes and checks every component that a configuration names. Nothing is connected or opened yet."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from streamd import registry
from streamd.config import Loaded, Problem, component
from streamd.core.books import SUMS, Books
from streamd.core.contracts import AnyCodec, AnyEncoder, AnyFramer, AnySink, SinkContext, Step, StepContext
from streamd.core.credential import MissingCredential
from streamd.core.dead_letter import DeadLetterStore
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.expression import Expression
from streamd.core.field_names import refuse_unknown
from streamd.core.schema import Schema
from streamd.core.settings import EncodedSettings, FramingSettings, SinkSettings, SourceSettings
from streamd.core.shared import Shared
from streamd.core.zstd_frames import require_zstd
from streamd.preparing.converted_frames import ConvertedFrames
from streamd.preparing.joined_lines import JoinedLines
from streamd.processes.refusals import refusals
from streamd.redaction.actions import keyed_hash
from streamd.redaction.key import read_key
from streamd.redaction.redactor import Redactor
from streamd.runtime.peer_redaction import PeerRedaction
from streamd.runtime.redaction import SourceRedaction
from streamd.state import repeatable


@dataclass(slots=True)
class Components:
    """Codecs and framers by source, steps by pipeline, sinks by name, and the problems found.

    Making a component finds its problems: expressions are compiled, Python is imported, columns are checked.
    """

    codecs: dict[str, AnyCodec] = field(default_factory=dict)
    framers: dict[str, Callable[[], AnyFramer]] = field(default_factory=dict)
    steps: dict[str, list[tuple[str, Step[Any]]]] = field(default_factory=dict)
    sinks: dict[str, AnySink] = field(default_factory=dict)
    conditions: dict[tuple[str, str], Expression] = field(default_factory=dict)
    """The `where` of a sink in a pipeline, by (pipeline, sink)."""
    problems: list[Problem] = field(default_factory=list)

    @contextmanager
    def at(self, *place: str | int) -> Iterator[None]:
        """Add the error that a component raises to `problems`, with its place in the configuration."""
        try:
            yield
        except (ConfigError, ValueError, OSError, RuntimeError) as error:  # RuntimeError: links in a circle
            keys = error.keys if isinstance(error, ConfigError) else ()
            self.problems.append(Problem((*place, *keys), str(error)))


@dataclass(slots=True, frozen=True)
class Before:
    """The components that run, made from the previous configuration."""

    loaded: Loaded
    steps: dict[str, list[Step[Any]]]
    """By pipeline, in order."""
    sinks: dict[str, AnySink]

    def sink(self, name: str, loaded: Loaded) -> AnySink | None:
        """The running sink of that name, if its settings and schema have not changed."""
        settings, was = loaded.config.sinks[name], self.loaded.config.sinks.get(name)
        schema = getattr(settings, "schema_name", None) or ""
        same_schema = loaded.schemas.get(schema) is self.loaded.schemas.get(schema)
        return self.sinks[name] if settings == was and same_schema else None

    def step(self, made: list[Step[Any]], options: object, context: StepContext) -> Step[Any] | None:
        """The first step of the pipeline that is not in `made` yet and would be made the same again."""
        for step in self.steps.get(context.pipeline, []):
            if (
                step not in made
                and type(step.config) is type(options)
                and step.config == options
                and replace(step.context, name=context.name) == context
                and step.is_current()
            ):
                return step
        return None


def make(
    loaded: Loaded,
    dead_letters: DeadLetterStore,
    shared: Shared,
    before: Before | None = None,
    books: Books | None = None,
) -> Components:
    """Make all components, also after one has failed. The errors are in `problems` of the result.

    A component of `before` that would be made the same again is reused. Steps and sinks count in `books`.
    """
    config = loaded.config
    books = books or Books()
    made = Components()
    for name, source in config.sources.items():
        with made.at("sources", name, "codec"):
            codec, options = component("codecs", source.codec)
            _check_counters(codec)
            made.codecs[name] = codec(options, loaded.schemas.get(source.schema_name or ""))
            made.codecs[name].load(loaded.base_dir)
            made.codecs[name].place_behind(streams=source.streams, cut=source.cut_by is not None)
        with made.at("sources", name):
            if source.inflated_by == "zstd":
                require_zstd()
            if (conversion := source.converted_by) is not None and name in made.codecs:
                _check_kept(source)
                if conversion.compression == "zstd":
                    require_zstd()
                made.codecs[name] = ConvertedFrames(conversion, made.codecs[name])
        with made.at("sources", name, "multiline"):
            if source.joined_by is not None and name in made.codecs:
                _check_lines(source.cut_by)
                made.codecs[name] = JoinedLines(source.joined_by, made.codecs[name])
        with made.at("sources", name, "redact"):
            _check_redaction(source, loaded.schemas.get(source.schema_name or ""))
        with made.at("sources", name, "framing"):
            if (new_framer := framers(source.cut_by)) is not None:
                made.framers[name] = new_framer
        with made.at("sources", name):
            _check_counters(registry.load("sources", source.type))
    for name in config.pipelines:
        made.steps[name] = _steps(loaded, name, made, before, books)
    for name, sink in config.sinks.items():
        with made.at("sinks", name):
            _check_counters(registry.load("sinks", sink.type))
            kept = before.sink(name, loaded) if before is not None else None
            encoder: AnyEncoder | None = None
            with made.at("sinks", name, "encoder"):
                encoder = encoder_of(sink)
            context = SinkContext(
                name,
                loaded.schemas,
                loaded.state_dir,
                dead_letters,
                shared,
                books.sink(name),
                loaded.base_dir,
                encoder,
            )
            made.sinks[name] = kept or registry.load("sinks", sink.type)(sink, context)
    made.problems += refusals(loaded, made.steps)
    made.problems += repeatable.refusals(config, made.codecs, made.steps, made.sinks)
    return made


def encoder_of(sink: SinkSettings) -> AnyEncoder | None:
    """The encoder that the sink names. Raises `ConfigError` for options that the encoder refuses."""
    if not isinstance(sink, EncodedSettings):
        return None
    encoder, options = component("encoders", sink.encoder)
    made: AnyEncoder = encoder(options)
    return made


def _check_kept(source: SourceSettings) -> None:
    """Raises `ConfigError` if dead letters would keep converted frames, in which `redact` finds nothing."""
    if source.redact.rules and source.dead_letters.payload == "keep":
        raise ConfigError(
            "redact finds nothing in dead letters with the bytes from before encoding and decompress: use "
            'payload = "hash" or "none"',
            ("dead_letters", "payload"),
        )


def _check_lines(cut_by: FramingSettings | None) -> None:
    """Raises `ConfigError` if the framing makes no lines, which `multiline` could join."""
    if cut_by is not None and not registry.load("framing", cut_by.framing.type).cuts_lines:
        raise ConfigError(
            f"multiline joins lines, and the frames of the framing {cut_by.framing.type} are no lines:"
            " remove multiline"
        )


def _check_redaction(source: SourceSettings, schema: Schema | None) -> None:
    """Raises `ConfigError` if a rule names a field that the schema does not have."""
    known = None if schema is None else frozenset(schema.fields)
    for index, rule in enumerate(source.redact.rules):
        if not (rule.nested and "nested" in rule.model_fields_set):
            refuse_unknown(rule.fields or (), known, "rules", index, "fields")


def _dropped(source: SourceSettings) -> frozenset[str]:
    """The fields that the redaction of a source removes from each record."""
    dropped = [
        rule.fields or () for rule in source.redact.rules if rule.action == "drop" and rule.detect is None
    ]
    return frozenset().union(*dropped)


_PEER_DIGITS = 32


def redaction_of(loaded: Loaded, source: str) -> SourceRedaction | None:
    """The redaction of a source, with its key read; None without the option `redact`.

    Raises `EnvironmentFault` if the key cannot be read.
    """
    settings = loaded.config.sources[source].redact
    if settings.peer_rule == "keep" and not settings.rules:
        return None
    schema = loaded.schemas.get(loaded.config.sources[source].schema_name or "")
    peer: PeerRedaction | None = None
    try:
        redactor = Redactor.read(settings, loaded.base_dir) if settings.rules else None
        if settings.peer_rule == "hash" and settings.key is not None:
            peer = PeerRedaction("hash", keyed_hash(read_key(settings.key, loaded.base_dir), _PEER_DIGITS))
        elif settings.peer_rule != "keep":
            peer = PeerRedaction(settings.peer_rule)
    except MissingCredential as fault:
        raise MissingCredential(f"source {source}: {fault}", fault.name) from None
    except EnvironmentFault as fault:
        raise EnvironmentFault(f"source {source}: {fault}") from None
    return SourceRedaction(redactor, peer, () if schema is None else schema.fields)


_GAUGES = frozenset(
    {"open_connections", "certificate_expiry_timestamp_seconds", "retrying", "last_commit_age_seconds"}
)
"""Metrics of sources and sinks that are gauges. OpenMetrics allows one type for each metric name."""
_ENDINGS = ("_total", "_created")


def _check_counters(cls: Any) -> None:
    """Raises `ConfigError` for a counter or gauge whose name is taken or is no valid metric name."""
    terms = {term.name for book in SUMS for term in book.terms}
    gauges = getattr(cls, "gauges", {})
    for name in (*cls.counters, *gauges):
        word = "gauge" if name in gauges else "counter"
        if name in gauges and name in cls.counters:
            raise ConfigError(f"{cls.__name__}: the gauge {name!r} has the name of a counter")
        if name in terms:
            raise ConfigError(f"{cls.__name__}: the {word} {name!r} has the name of a term of the books")
        if name in _GAUGES:
            raise ConfigError(f"{cls.__name__}: the {word} {name!r} has the name of a metric of streamd")
        if re.fullmatch("[a-z][a-z0-9_]*", name) is None or name.endswith(_ENDINGS):
            raise ConfigError(
                f"{cls.__name__}: the {word} {name!r}: use a to z, digits and underscores, and no ending"
                " that Prometheus adds (_total, _created)"
            )


def framers(cut_by: FramingSettings | None) -> Callable[[], AnyFramer] | None:
    """A maker of framers, after a first one was made to try the options; None if frames are not cut."""
    if cut_by is None:
        return None
    framing, options = component("framing", cut_by.framing)
    _check_counters(framing)

    def new_framer() -> AnyFramer:
        framer: AnyFramer = framing(options, cut_by.max_frame, cut_by.oversize)
        return framer

    new_framer()
    return new_framer


def _steps(
    loaded: Loaded, pipeline: str, made: Components, before: Before | None, books: Books
) -> list[tuple[str, Step[Any]]]:
    settings = loaded.config.pipelines[pipeline]
    schemas = {loaded.config.sources[source].schema_name for source in settings.sources}
    schema = loaded.schemas.get(schemas.pop() or "") if len(schemas) == 1 else None
    fields = frozenset(schema.fields) if schema is not None else None
    if fields is not None:
        fields -= frozenset.intersection(
            *(_dropped(loaded.config.sources[name]) for name in settings.sources)
        )
    steps: list[tuple[str, Step[Any]]] = []
    for index, spec in enumerate(settings.steps):
        with made.at("pipelines", pipeline, "steps", index):
            cls, options = component("steps", spec)
            _check_counters(cls)
            name = f"{spec.type}[{index}]"
            context = StepContext(
                name,
                pipeline,
                schema,
                loaded.base_dir,
                fields,
                counters=books.step(pipeline, name),
                quality=books.quality,
            )
            kept = before.step([p for _, p in steps], options, context) if before is not None else None
            step: Step[Any] = kept or cls(options, context)
            if (
                step.offload is not None
                and step.offload.executor == "process"
                and not step.offload.carries_state
                and (step.is_timed or step.is_stateful)
            ):
                raise ConfigError(
                    "executor: a step that keeps state cannot run in worker processes, which are replaced"
                    ' when they hang or die: set executor = "thread"'
                )
            steps.append((name, step))
            fields = step.fields_after()
    for index, reference in enumerate(settings.sink_references):
        if reference.where is not None:
            with made.at("pipelines", pipeline, "sinks", index, "where"):
                made.conditions[pipeline, reference.name] = Expression(reference.where, fields)
    return steps
