"""The differences between the running configuration and the one that a reload would apply."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from itertools import chain
from typing import Any

from streamd.assembly import Assembly
from streamd.config import Loaded
from streamd.config.tables import PipelineSettings
from streamd.core.errors import ConfigError
from streamd.core.schema import Schema

_FIXED = ("admin", "control", "ledger", "dead_letters")
_FIXED_KEYS = (("daemon", "state_dir"), ("daemon", "processes"), ("log", "format"))
_TABLES = ("daemon", "log")
"""The tables of which a reload applies the other keys."""


@dataclass(slots=True)
class Changes:
    """The names of the components that a reload keeps, changes, replaces, adds or removes.

    The name of a step is `pipeline > stage`.
    """

    sources: dict[str, list[str]] = field(default_factory=dict)
    """`kept`, `changed`, `replaced`, `added`, `removed`.

    A changed source has other settings, schema, files or keys, also of its codec, and keeps its socket,
    connections and queue.
    """
    sinks: dict[str, list[str]] = field(default_factory=dict)
    """`kept`, `replaced`, `added`, `removed`.

    A kept sink keeps its buffer. A replaced or removed sink writes its buffered records before it closes.
    """
    steps: dict[str, list[str]] = field(default_factory=dict)
    """`kept`, `replaced`, `added`, `removed`. A kept step keeps its state in memory."""
    pipelines: dict[str, list[str]] = field(default_factory=dict)
    """`kept`, `changed`, `added`, `removed`. A changed one has other sources or sinks, or another `where`."""
    settings: dict[str, list[str]] = field(default_factory=dict)
    """`changed`: keys of other tables, such as `log.level`."""

    @property
    def nothing(self) -> bool:
        """Whether the reload changes nothing."""
        return not any(names for _, kinds in self._kinds() for kind, names in kinds.items() if kind != "kept")

    def summary(self) -> dict[str, str]:
        """Fields of a log line, such as `sources_changed: "lab, floor"`. Kept components are only counted."""
        found: dict[str, str] = {}
        for of, kinds in self._kinds():
            for kind, names in kinds.items():
                if names:
                    found[f"{of}_{kind}"] = str(len(names)) if kind == "kept" else ", ".join(names)
        return found

    def _kinds(self) -> Iterable[tuple[str, dict[str, list[str]]]]:
        return ((one.name, getattr(self, one.name)) for one in fields(self))


def refuse_fixed(now: Loaded, new: Loaded) -> None:
    """Raises `ConfigError` if a setting differs that only a restart can change."""
    fixed = [f"[{table}]" for table in _FIXED if getattr(now.config, table) != getattr(new.config, table)]
    fixed += [
        f"{table}.{key}"
        for table, key in _FIXED_KEYS
        if getattr(getattr(now.config, table), key) != getattr(getattr(new.config, table), key)
    ]
    if fixed:
        raise ConfigError(f"{', '.join(fixed)} cannot be changed while streamd runs: restart it instead")


def keep_schemas(now: Loaded, new: Loaded) -> None:
    """Put the running objects of unchanged schemas into `new`, so that they compare as identical."""
    for name, settings in new.config.schemas.items():
        if name in now.schemas and now.config.schemas[name] == settings:
            new.schemas[name] = now.schemas[name]


def compare(now: Loaded, old: Assembly, new: Loaded, parts: Assembly) -> Changes:
    """The differences between the running assembly `old` and its successor `parts`."""
    changes = Changes(sources=_sorted(old.sources, parts.sources), sinks=_sorted(old.sinks, parts.sinks))
    same = changes.sources["kept"]
    outdated = {
        feed.frames.source
        for workers in old.workers.values()
        for feed in workers.feeds
        if not feed.codec.is_current()
    }
    changed = [
        name
        for name in same
        if now.config.sources[name] != new.config.sources[name]
        or _schema(now, name) is not _schema(new, name)
        or old.contexts[name].files != parts.contexts[name].files
        or old.contexts[name].redact_peer != parts.contexts[name].redact_peer
        or name in outdated
    ]
    changes.sources["kept"] = [name for name in same if name not in changed]
    changes.sources["changed"] = changed
    was = {id(p): place for place, p in _steps(old)}
    now_there = {id(p) for _, p in _steps(parts)}
    kept = [place for place, p in _steps(parts) if id(p) in was]
    gone = [place for place, p in _steps(old) if id(p) not in now_there]
    made = [place for place, p in _steps(parts) if id(p) not in was]
    changes.steps = {
        "kept": kept,
        "replaced": [place for place in made if place in gone],
        "added": [place for place in made if place not in gone],
        "removed": [place for place in gone if place not in made],
    }
    changes.pipelines = _pipelines(now.config.pipelines, new.config.pipelines)
    changes.settings = {"changed": _settings(now, new)}
    return changes


def _pipelines(now: dict[str, PipelineSettings], new: dict[str, PipelineSettings]) -> dict[str, list[str]]:
    both = [name for name in new if name in now]
    changed = [
        name
        for name in both
        if (now[name].sources, now[name].sink_references) != (new[name].sources, new[name].sink_references)
    ]
    return {
        "kept": [name for name in both if name not in changed],
        "changed": changed,
        "added": [name for name in new if name not in now],
        "removed": [name for name in now if name not in new],
    }


def _settings(now: Loaded, new: Loaded) -> list[str]:
    return [
        f"{table}.{key}"
        for table in _TABLES
        for key, value in getattr(now.config, table)
        if value != getattr(getattr(new.config, table), key)
    ]


def _schema(loaded: Loaded, source: str) -> Schema | None:
    """The schema of the source's codec. An unchanged schema is the same object (`keep_schemas`)."""
    return loaded.schemas.get(loaded.config.sources[source].schema_name or "")


def _sorted(old: dict[str, Any], new: dict[str, Any]) -> dict[str, list[str]]:
    return {
        "kept": [name for name, part in new.items() if old.get(name) is part],
        "replaced": [name for name, part in new.items() if name in old and old[name] is not part],
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
    }


def _steps(parts: Assembly) -> Iterable[tuple[str, object]]:
    return chain.from_iterable(
        ((f"{name} > {stage.name}", stage.step) for stage in pipeline.stages)
        for name, pipeline in parts.pipelines.items()
    )
