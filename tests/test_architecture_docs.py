"""The pages for people who change the code name files, functions and commands that exist."""

import functools
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from streamd import registry

ROOT = Path(__file__).parent.parent
ARCHITECTURE = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PATH = re.compile(r"(?<![\w./-])((?:streamd|tests|docs|config|bin)/[\w./-]*\w)")
STEPS = re.findall(r"^\| `([\w.]+)` \| `(streamd/[\w/]+\.py)` \|", ARCHITECTURE, re.MULTILINE)
ROOMS = sorted(path.name for path in (ROOT / "streamd").iterdir() if (path / "__init__.py").exists())


def attribute(path: str, dotted: str) -> Any:
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    return functools.reduce(getattr, dotted.split("."), module)


@pytest.mark.parametrize("page", [ARCHITECTURE, CONTRIBUTING], ids=["architecture", "CONTRIBUTING"])
def test_every_file_exists(page: str) -> None:
    named = {path for path in PATH.findall(page) if not re.search(r"NAME|/X/|/test_y", path)}
    assert len(named) > 5
    assert not [path for path in named if not (ROOT / path).exists()]


def test_every_function_on_the_way_is_where_the_page_says() -> None:
    assert len(STEPS) > 15
    for dotted, path in STEPS:
        found = attribute(path, dotted)
        assert callable(found), dotted
        assert found.__module__ == path.removesuffix(".py").replace("/", "."), dotted


def test_what_components_declare_is_there() -> None:
    for dotted in ("SourceSettings.endpoints", "SinkSettings.outputs"):
        assert f"`{dotted}`" in ARCHITECTURE
        assert isinstance(attribute("streamd/core/settings.py", dotted), property)


def test_the_map_shows_every_room() -> None:
    drawn = ARCHITECTURE[ARCHITECTURE.index("## The rooms") : ARCHITECTURE.index("## The way")]
    words = set(re.findall(r"[\w.]+", drawn))
    hidden = {"client", "reading"}  # the sending side and the notebooks: beside the daemon, not in it
    assert not [room for room in ROOMS if room not in words | hidden]


def test_the_examples_are_components() -> None:
    examples = re.findall(r"^\| \w[\w ]* \| `streamd/(\w+)/(\w+)\.py` \|", ARCHITECTURE, re.MULTILINE)
    components = [(kind, name) for kind, name in examples if kind in registry.KINDS]
    assert {kind for kind, _ in components} == set(registry.KINDS)
    assert all(registry.load(kind, name) for kind, name in components)


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^    make (\w+)", CONTRIBUTING, re.MULTILINE)
    assert targets
    assert not [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)]
