"""The laws of the house: how the code is divided, and what each part is called."""

import ast
import importlib
import inspect
import re
import statistics
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamd import registry
from streamd.core.contracts import Codec, Encoder, Framer, Sink, Source, Step
from streamd.core.errors import ConfigError

ROOT = Path(__file__).parent.parent
PRODUCT = ROOT / "streamd"
FILES = sorted(PRODUCT.rglob("*.py"))
MODULES = [path for path in FILES if path.name != "__init__.py"]
CONTRACTS: dict[str, Any] = {
    "sources": Source, "framing": Framer, "codecs": Codec, "steps": Step,
    "encoders": Encoder, "sinks": Sink,
}  # fmt: skip

MOST_LINES = 400
MEDIAN_LINES = 130

UNTESTED: dict[str, str] = {
    "streamd/__main__.py": "three lines that every test of a daemon runs",
}
"""Modules with logic of their own that no test is about, and why."""


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(path: Path) -> Path:
    return path.parent


def classes(path: Path) -> Iterator[ast.ClassDef]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef))


def test_every_package_has_a_docstring_at_its_door() -> None:
    doors = [path for path in FILES if path.name == "__init__.py"]
    assert not [relative(door) for door in doors if not ast.get_docstring(ast.parse(door.read_text()))]
    rooms = {room_of(path) for path in MODULES}
    assert not [relative(room) for room in rooms if not (room / "__init__.py").exists()]


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    lines = {relative(path): len(path.read_text().splitlines()) for path in MODULES}
    assert not {name: n for name, n in lines.items() if n > MOST_LINES}
    assert statistics.median(lines.values()) <= MEDIAN_LINES


def floors() -> set[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return {name.strip() for layer in layers for name in layer.split("|")}


def has_floor(path: Path, named: set[str]) -> bool:
    parts = module_name(path).split(".")
    return any(".".join(parts[:n]) in named for n in range(2, len(parts) + 1))


def test_every_room_stands_on_a_floor() -> None:
    named = floors()
    at_the_door = {"streamd", "streamd._own_path"}  # they are imported before everything else
    modules = [path for path in FILES if module_name(path) not in at_the_door]
    # The door of a room that is spread over several floors has no floor of its own, and imports nothing.
    spread = {name.rpartition(".")[0] for name in named} - {"streamd"}
    lost = [path for path in modules if not has_floor(path, named)]
    assert not [relative(path) for path in lost if module_name(path) not in spread]
    imports = (ast.Import, ast.ImportFrom)
    busy = [p for p in lost if any(isinstance(node, imports) for node in ast.walk(ast.parse(p.read_text())))]
    assert not [relative(path) for path in busy]


def test_every_floor_is_there() -> None:
    there = {module_name(path) for path in FILES}
    assert floors() <= there


@pytest.mark.parametrize("kind", registry.KINDS)
def test_the_listing_of_a_room_of_components_is_the_catalogue(kind: str) -> None:
    listed = {path.stem for path in (PRODUCT / kind).iterdir() if path.name != "__pycache__"} - {"__init__"}
    assert listed <= set(registry.names(kind))
    assert not [name for name in listed if name.startswith("_")]
    for name in listed:
        module = importlib.import_module(f"streamd.{kind}.{name}")
        components = [
            found
            for found in vars(module).values()
            if inspect.isclass(found)
            and found.__module__ == module.__name__
            and issubclass(found, CONTRACTS[kind])
        ]
        assert components == [registry.load(kind, name)], name
        assert components[0].__name__.lower() == name.replace("_", ""), name
        assert components[0].__doc__, name


@pytest.mark.parametrize(
    "text",
    [
        "import csv as stranger",
        "from streamd.codecs.raw import Raw as Stranger",
        "stranger = 1",
        "def stranger(): ...",
        "class Stranger: ...",
        "class Other: ...",
    ],
)
def test_only_a_component_that_a_module_defines_is_taken(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stranger.py").write_text(text)
    package = importlib.import_module("streamd.codecs")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    try:
        with pytest.raises(ConfigError, match=r"streamd\.codecs\.stranger defines no codec stranger"):
            registry.load("codecs", "stranger")
    finally:
        sys.modules.pop("streamd.codecs.stranger", None)
        vars(package).pop("stranger", None)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("stranger_package:Stranger", ""),
        ("stranger_package:Missing", "cannot be loaded"),
        ("stranger_package.missing:Stranger", "cannot be loaded"),
        ("stranger_package:plain", "is no class derived from streamd.core.contracts.Codec"),
        ("stranger_package:Plain", "is no class derived from streamd.core.contracts.Codec"),
    ],
)
def test_a_component_of_another_package_is_one_of_its_kind(
    value: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[streamd.codecs]\nstranger = {value}\n")
    (tmp_path / "stranger_package.py").write_text(
        "from streamd.codecs.raw import Raw\n\n\n"
        "class Stranger(Raw): ...\n\n\nclass Plain: ...\n\n\ndef plain(): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "stranger_package", raising=False)
    load = registry.load.__wrapped__  # what it finds is of this test alone
    if not why:
        assert issubclass(load("codecs", "stranger"), Codec)
        return
    with pytest.raises(ConfigError, match=f"the package stranger brings the codec 'stranger', but .*{why}"):
        load("codecs", "stranger")


def mirror(path: Path) -> Path:
    return ROOT / "tests" / path.relative_to(PRODUCT).parent / f"test_{path.stem.lstrip('_')}.py"


def imported(tree: ast.AST) -> set[str]:
    """The modules and names that it imports."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def decides(path: Path) -> bool:
    """Whether a function of it does more than to pass something on."""
    deciding = (
        ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.Match, ast.BoolOp,
        ast.comprehension,
    )  # fmt: skip
    return any(
        isinstance(part, deciding)
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for part in ast.walk(function)
    )


def covered() -> set[str]:
    """The modules that a test is about: it has their name, imports them, also by the door of their package,
    or names them in its docstring; or mistakes in them are tried with `tests/mutation`.
    """
    found = {relative(path) for path in MODULES if mirror(path).exists()}
    for table in (ROOT / "tests" / "mutation").glob("*.toml"):
        found |= {name for name, its in tomllib.loads(table.read_text()).items() if its}
    named: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        if path == Path(__file__):
            continue
        tree = ast.parse(path.read_text())
        named |= imported(tree)
        found |= {f"streamd/{name}" for name in re.findall(r"`([\w/]+\.py)`", ast.get_docstring(tree) or "")}
    for door in (path for path in FILES if path.name == "__init__.py"):
        for node in ast.walk(ast.parse(door.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                offered = {f"{module_name(door)}.{alias.asname or alias.name}" for alias in node.names}
                named |= {node.module} if offered & named else set()
    return found | {relative(path) for path in MODULES if module_name(path) in named}


def test_every_module_that_decides_something_has_a_test_that_is_about_it() -> None:
    """The only user of a module may have the test for both."""
    uses = {path: imported(ast.parse(path.read_text())) for path in FILES}
    by_name = {module_name(path): path for path in MODULES}
    users: dict[Path, list[Path]] = {path: [] for path in MODULES}
    for user in MODULES:
        for name in uses[user] & by_name.keys():
            if by_name[name] != user:
                users[by_name[name]].append(user)
    about = covered()
    assert not [name for name in about if not (ROOT / name).is_file()]
    left = [path for path in MODULES if decides(path) and relative(path) not in about]
    while parts := [path for path in left if len(users[path]) == 1 and not set(users[path]) & set(left)]:
        left = [path for path in left if path not in parts]
    assert {relative(path) for path in left} == set(UNTESTED)


def test_no_two_classes_have_one_name() -> None:
    places = defaultdict(list)
    for path in FILES:
        for node in classes(path):
            places[node.name].append(path)
    del places["Config"]  # each component has one
    twice = {name: paths for name, paths in places.items() if len(paths) > 1}
    # Components of one type in two kinds (`file`, `tcp`, `auto`) both have the type's name.
    of_types = {name for name, paths in twice.items() if all(path.parent.name in CONTRACTS for path in paths)}
    assert not {name: list(map(relative, paths)) for name, paths in twice.items() if name not in of_types}


def test_no_module_imports_a_private_name_of_another_room() -> None:
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("streamd"):
                continue
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            room = module_name(room_of(path) / "__init__.py")
            found += [
                f"{relative(path)}:{node.lineno} {name}"
                for name in names
                if any(part.startswith("_") and not part.startswith("__") for part in name.split("."))
                and name.rpartition("._")[0] != room
            ]
    assert not found


SLEEPERS = {"pace", "stays", "quiet"}
"""Functions that let time pass: of a sender, of a check that nothing happens, of a look at what rests."""


def sleeps(node: ast.AST, function: str = "", *, polls: bool = False) -> Iterator[ast.Call]:
    """The calls of sleep for longer than a turn of the loop that wait for no condition and have no name."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        function, polls = node.name, False
    polls = polls or isinstance(node, ast.While)
    if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "asyncio.sleep", "sleep"}:
        turn = bool(node.args) and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
        if not (turn or polls or function in SLEEPERS):
            yield node
    for part in ast.iter_child_nodes(node):
        yield from sleeps(part, function, polls=polls)


def test_no_test_sleeps_and_hopes() -> None:
    """A test waits for a condition in a loop, or for time with `pace` or `stays`; virtual time costs none."""
    found = []
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text()
        if "virtual_loop" not in text and path.parent.name != "peers":
            found += [f"{relative(path)}:{call.lineno}" for call in sleeps(ast.parse(text))]
    assert not found
