from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from streamd.config import DaemonSettings, Loaded, load
from streamd.config.tables import LogSettings
from streamd.core.errors import ConfigError
from streamd.reload.changes import Changes, compare, keep_schemas, refuse_fixed

CONFIG = """
[schemas.reading]
sender = "str"
[schemas.other]
n = "int"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
[pipelines.main]
sources = ["floor"]
sinks = ["main"]
[sinks.main]
type = "sqlite"
path = "main.db"
"""


@pytest.fixture
def loaded(tmp_path: Any) -> Any:
    """A configuration as it is read from a file."""

    def read(config: str = CONFIG) -> Loaded:
        (tmp_path / "streamd.toml").write_text(config)
        return load(tmp_path / "streamd.toml")

    return read


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ('[ledger]\ninterval = "7s"', "[ledger]"),
        ('[dead_letters]\nmax_size = "7MiB"', "[dead_letters]"),
        ('[admin]\nlisten = "127.0.0.1:0"', "[admin]"),
        ('[control]\npath = "other.sock"', "[control]"),
        ('[daemon]\nstate_dir = "elsewhere"', "daemon.state_dir"),
        ('[log]\nformat = "json"', "log.format"),
    ],
)
def test_what_only_a_restart_can_change_is_refused_by_its_name(loaded: Any, more: str, named: str) -> None:
    now = loaded()
    with pytest.raises(ConfigError) as refused:
        refuse_fixed(now, loaded(more + CONFIG))
    assert str(refused.value).startswith(f"{named} cannot be changed while streamd runs")


def test_everything_that_differs_is_named_and_nothing_else_is_refused(loaded: Any) -> None:
    now = loaded()
    refuse_fixed(now, loaded('[daemon]\ndrain_timeout = "7s"\n[log]\nlevel = "debug"\n' + CONFIG))
    with pytest.raises(ConfigError, match=r"^\[ledger\], log\.format cannot"):
        refuse_fixed(now, loaded('[ledger]\ninterval = "7s"\n[log]\nformat = "json"\n' + CONFIG))


def test_a_schema_that_did_not_change_is_the_very_one_that_is_in_use(loaded: Any) -> None:
    now, new = loaded(), loaded(CONFIG.replace('n = "int"', 'n = "float"') + '[schemas.third]\nx = "str"\n')
    changed = new.schemas["other"]
    keep_schemas(now, new)
    assert new.schemas["reading"] is now.schemas["reading"]
    assert new.schemas["other"] is changed is not now.schemas["other"]
    assert set(new.schemas) == {"reading", "other", "third"}


@dataclass(eq=False)
class Part:
    """A source, a sink or a step that is compared by identity."""

    name: str = ""


def feed_of(source: str, *, current: bool) -> Any:
    codec = SimpleNamespace(is_current=lambda: current)
    return SimpleNamespace(frames=SimpleNamespace(source=source), codec=codec)


def assembly(
    sources: dict[str, Part],
    sinks: dict[str, Part],
    steps: dict[str, Part],
    files: Any = None,
    *,
    current: bool = True,
) -> Any:
    made = [SimpleNamespace(name=name, step=part) for name, part in steps.items()]
    return SimpleNamespace(
        sources=sources,
        sinks=sinks,
        pipelines={"main": SimpleNamespace(stages=made)},
        contexts={name: SimpleNamespace(files=files, redact_peer=None) for name in sources},
        workers={"main": SimpleNamespace(feeds=[feed_of(name, current=current) for name in sources])},
    )


def of_sources(schema: str = "none", **settings: Any) -> Any:
    sources = {name: SimpleNamespace(schema_name="reading", value=value) for name, value in settings.items()}
    others = {"pipelines": {}, "daemon": DaemonSettings(), "log": LogSettings()}
    return SimpleNamespace(config=SimpleNamespace(sources=sources, **others), schemas={"reading": schema})


def test_each_part_is_kept_changed_replaced_added_or_removed() -> None:
    same, other = Part(), Part()
    old = assembly(
        {"kept": same, "changed": other, "replaced": Part(), "removed": Part()},
        {"kept": same, "replaced": Part(), "removed": Part()},
        {"a": same, "b": Part(), "c": Part()},
    )
    new = assembly(
        {"kept": same, "changed": other, "replaced": Part(), "added": Part()},
        {"kept": same, "replaced": Part(), "added": Part()},
        {"moved": same, "b": Part(), "d": Part()},
    )
    changes = compare(
        of_sources(kept=1, changed=1, replaced=1, removed=1), old,
        of_sources(kept=1, changed=2, replaced=1, added=1), new,
    )  # fmt: skip
    each = {"replaced": ["replaced"], "added": ["added"], "removed": ["removed"]}
    assert changes.sources == each | {"kept": ["kept"], "changed": ["changed"]}
    assert changes.sinks == each | {"kept": ["kept"]}
    assert changes.steps == {
        "kept": ["main > moved"], "replaced": ["main > b"], "added": ["main > d"], "removed": ["main > c"],
    }  # fmt: skip
    assert changes.summary() == {
        "sources_kept": "1", "sources_changed": "changed", "sources_replaced": "replaced",
        "sources_added": "added", "sources_removed": "removed", "sinks_kept": "1",
        "sinks_replaced": "replaced", "sinks_added": "added", "sinks_removed": "removed",
        "steps_kept": "1", "steps_replaced": "main > b", "steps_added": "main > d",
        "steps_removed": "main > c",
    }  # fmt: skip
    assert not changes.nothing


def test_a_source_with_other_files_has_changed() -> None:
    parts = {"floor": Part()}
    changes = compare(
        of_sources(floor=1),
        assembly(parts, {}, {}, "old"),
        of_sources(floor=1),
        assembly(parts, {}, {}, "new"),
    )
    assert (changes.sources["kept"], changes.sources["changed"]) == ([], ["floor"])


def test_a_source_whose_codec_would_read_other_files_has_changed() -> None:
    parts = {"floor": Part()}
    old, new = assembly(parts, {}, {}, current=False), assembly(parts, {}, {})
    changes = compare(of_sources(floor=1), old, of_sources(floor=1), new)
    assert (changes.sources["kept"], changes.sources["changed"]) == ([], ["floor"])


def test_a_source_whose_schema_has_changed_has_changed() -> None:
    parts = assembly({"floor": Part()}, {}, {})
    changes = compare(of_sources("old", floor=1), parts, of_sources("new", floor=1), parts)
    assert (changes.sources["kept"], changes.sources["changed"]) == ([], ["floor"])
    assert compare(of_sources("old", floor=1), parts, of_sources("old", floor=1), parts).nothing


@pytest.mark.parametrize(
    ("old", "new", "pipelines", "settings"),
    [
        ('["main"]\n[sinks', '[{ name = "main", where = "n > 1" }]\n[sinks', "changed", []),
        ("[pipelines.main]", "[pipelines.other]", "added", []),
        ('sources = ["floor"]', 'sources = ["floor"]\nsteps = ["flatten"]', "kept", []),
        ("[pipelines.main]", '[log]\nlevel = "error"\n[pipelines.main]', "kept", ["log.level"]),
        (
            "[pipelines.main]",
            '[daemon]\ndrain_timeout = "7s"\nmax_batch = 7\n[pipelines.main]',
            "kept",
            ["daemon.max_batch", "daemon.drain_timeout"],
        ),
    ],
)
def test_a_pipeline_and_settings_that_change_no_component_have_changed(
    loaded: Any, old: str, new: str, pipelines: str, settings: list[str]
) -> None:
    assert CONFIG.count(old) == 1
    parts = assembly({"floor": Part()}, {}, {})
    before = loaded()
    changes = compare(before, parts, loaded(CONFIG.replace(old, new)), parts)
    name = "other" if pipelines == "added" else "main"
    assert changes.pipelines[pipelines] == [name]
    assert changes.pipelines["removed"] == (["main"] if pipelines == "added" else [])
    assert changes.settings == {"changed": settings}
    assert changes.nothing == (pipelines == "kept" and not settings)


@pytest.mark.parametrize("of", ["sources", "sinks", "steps", "pipelines", "settings"])
def test_one_change_anywhere_is_a_change(of: str) -> None:
    assert Changes().nothing
    assert Changes(**{of: {"kept": ["a", "b"], "removed": []}}).nothing
    assert not Changes(**{of: {"kept": ["a", "b"], "removed": ["c"]}}).nothing
