"""Another configuration for a daemon that runs: what stays stays, and nothing that was taken is lost."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from streamd.assembly import Assembly
from streamd.config import Loaded
from streamd.core.errors import ConfigError
from streamd.core.schema import Schema

_FIXED = ("admin", "control", "ledger", "dead_letters")
_FIXED_KEYS = (("daemon", "state_dir"), ("log", "format"))


@dataclass(slots=True)
class Changes:
    """What a reload does, by names; a step's name is `pipeline > stage`."""

    sources: dict[str, list[str]] = field(default_factory=dict)
    """`kept` as it was, `changed` (other settings, schema or files; socket, connections, queue stay),
    `replaced`, `added`, `removed`."""
    sinks: dict[str, list[str]] = field(default_factory=dict)
    """`kept` with its buffer; `replaced` and `removed` ones write what they have first."""
    steps: dict[str, list[str]] = field(default_factory=dict)
    """`kept` with their state; the state of `replaced` and `removed` ones is gone."""

    @property
    def nothing(self) -> bool:
        """Everything stays as it is."""
        return not any(
            names
            for kinds in (self.sources, self.sinks, self.steps)
            for kind, names in kinds.items()
            if kind != "kept"
        )

    def summary(self) -> dict[str, str]:
        """For a log line: `sources_changed: "lab, floor"` and so on; what is kept only as a number."""
        found: dict[str, str] = {}
        for of, kinds in (("sources", self.sources), ("sinks", self.sinks), ("steps", self.steps)):
            for kind, names in kinds.items():
                if names:
                    found[f"{of}_{kind}"] = str(len(names)) if kind == "kept" else ", ".join(names)
        return found


def refuse_fixed(now: Loaded, new: Loaded) -> None:
    """Raises `ConfigError` where something differs that only a restart can change."""
    fixed = [f"[{table}]" for table in _FIXED if getattr(now.config, table) != getattr(new.config, table)]
    fixed += [
        f"{table}.{key}"
        for table, key in _FIXED_KEYS
        if getattr(getattr(now.config, table), key) != getattr(getattr(new.config, table), key)
    ]
    if fixed:
        raise ConfigError(f"{', '.join(fixed)} cannot be changed while streamd runs: restart it instead")


def keep_schemas(now: Loaded, new: Loaded) -> None:
    """Let schemas that did not change be the very ones that are in use: whatever compares them sees it."""
    for name, settings in new.config.schemas.items():
        if name in now.schemas and now.config.schemas[name] == settings:
            new.schemas[name] = now.schemas[name]


def compare(now: Loaded, old: Assembly, new: Loaded, parts: Assembly) -> Changes:
    """What differs between what runs and what was assembled to follow it."""
    changes = Changes(sources=_sorted(old.sources, parts.sources), sinks=_sorted(old.sinks, parts.sinks))
    same = changes.sources["kept"]
    changed = [
        name
        for name in same
        if now.config.sources[name] != new.config.sources[name]
        or _schema(now, name) is not _schema(new, name)
        or old.contexts[name].files != parts.contexts[name].files
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
    return changes


def _schema(loaded: Loaded, source: str) -> Schema | None:
    """What the source's codec decodes to; one that did not change is the same object (`keep_schemas`)."""
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
