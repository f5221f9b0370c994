"""Also about `functions/files.py`."""

import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from streamd.core.errors import ConfigError
from streamd.functions.reference import Named

LoadStep = Callable[..., Named]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def make(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


@pytest.fixture(autouse=True)
def _nothing_of_the_user_is_importable() -> Iterator[None]:
    before = list(sys.path)
    yield
    assert sys.path == before


def result(named: Named) -> Any:
    return named.make()({})


def test_a_changed_helper_makes_the_step_anew_with_all_of_its_modules(write: Callable[..., Path]) -> None:
    folder = write(
        steps="import helper\nfrom package.inner import Z\ndef step(r): return (helper.V, Z)",
        helper="from deeper import V",
        deeper="V = 1",
        package__inner="Z = 1",
    )
    first = Named("steps.py:step", folder, {})
    assert first.is_current()
    assert result(first) == (1, 1)
    for name, text, expected in (("deeper", "V = 2", (2, 1)), ("package__inner", "Z = 2", (2, 2))):
        write(**{name: text})
        assert not first.is_current()
        second = Named("steps.py:step", folder, {})
        assert result(second) == expected
        assert second.is_current()
        first = second
    write(nobody_imports_it="1 / 0")
    assert first.is_current()


@pytest.mark.parametrize(
    "import_it", ["import lazy", "from lazy import V", "import importlib; importlib.import_module('lazy')"]
)
def test_a_module_that_is_imported_when_the_function_runs_counts_too(
    write: Callable[..., Path], import_it: str
) -> None:
    folder = write(steps=f"def step(r):\n    {import_it}\n    return 1", lazy="V = 1")
    named = Named("steps.py:step", folder, {})
    result(named)
    assert named.is_current()
    write(lazy="V = 2")
    assert not named.is_current()


def test_what_an_old_step_imports_late_is_of_its_own_time(write: Callable[..., Path]) -> None:
    folder = write(steps="def step(r):\n    import lazy\n    return lazy.V", lazy="V = 1")
    old = Named("steps.py:step", folder, {})
    write(lazy="V = 2")
    new = Named("steps.py:step", folder, {})
    assert (result(old), result(new)) == (1, 2)


def test_a_module_that_was_missing_is_found_when_it_is_there(write: Callable[..., Path]) -> None:
    folder = write(
        steps="try:\n    import late\nexcept ImportError:\n    late = None\n"
        "def step(r): return late and late.V"
    )
    first = Named("steps.py:step", folder, {})
    assert result(first) is None
    write(late="V = 1")
    assert not first.is_current()
    assert result(Named("steps.py:step", folder, {})) == 1


def test_modules_of_one_name_in_two_folders_do_not_mix(write: Callable[..., Path]) -> None:
    source = "import helper\ndef step(r):\n    import helper as again\n    return (helper.V, again.V)"
    folder = write(a__steps=source, a__helper="V = 'a'", b__steps=source, b__helper="V = 'b'")
    one, two = Named("a/steps.py:step", folder, {}), Named("b/steps.py:step", folder, {})
    assert (result(one), result(two)) == (("a", "a"), ("b", "b"))


def test_two_step_files_of_one_folder_share_their_helper(write: Callable[..., Path]) -> None:
    source = "import helper\ndef step(r):\n    helper.seen.append(1)\n    return len(helper.seen)"
    folder = write(one=source, two=source, helper="seen = []")
    one, two = Named("one.py:step", folder, {}), Named("two.py:step", folder, {})
    assert [result(named) for named in (one, two, one)] == [1, 2, 3]


def test_files_named_like_installed_modules_harm_nobody_else(write: Callable[..., Path]) -> None:
    folder = write(
        steps="import json, random, numpy, pydantic\n"
        "def step(r): return (json.dumps(1), numpy.V, pydantic.V)",
        random="raise AssertionError('not the standard library')",
        json="raise AssertionError('not the standard library')",
        numpy="V = 'mine'",
        pydantic="V = 'mine too'",
        streamd="raise AssertionError('not streamd')",
    )
    assert result(Named("steps.py:step", folder, {})) == ("1", "mine", "mine too")
    import json  # noqa: PLC0415

    import numpy as np  # noqa: PLC0415
    import pydantic  # noqa: PLC0415

    assert str(folder) not in str((json.__file__, np.__file__, pydantic.__file__))
    assert hasattr(pydantic, "BaseModel")


def test_pickles_of_a_helpers_classes_can_be_read(write: Callable[..., Path], tmp_path: Path) -> None:
    folder = write(
        steps="import pickle, helper\ndef step(path):\n    model = pickle.loads(path.read_bytes())\n"
        "    return isinstance(model, helper.Model) and model.k",
        helper="class Model:\n    k = 5",
    )
    stored = tmp_path / "model.pkl"
    helper = sys.modules["helper"] = ModuleType("helper")
    exec((folder / "helper.py").read_text(), vars(helper))  # noqa: S102 - as a training script would
    stored.write_bytes(pickle.dumps(helper.Model()))
    del sys.modules["helper"]
    try:
        assert Named("steps.py:step", folder, {}).make()(stored) == 5
    finally:
        sys.modules.pop("helper", None)
    named = Named("steps.py:step", write(steps="class C: pass\ndef step(r): return C()"), {})
    assert type(pickle.loads(pickle.dumps(result(named)))).__name__ == "C"  # noqa: S301 - made here


def test_modules_that_import_each_other_and_relative_imports_work(write: Callable[..., Path]) -> None:
    folder = write(
        steps="import other\nfrom kit import tool\nimport kit.deep.leaf\nX = 1\n"
        "def step(r): return (other.get(), tool.T, kit.deep.leaf.L)",
        other="import steps\ndef get(): return steps.X",
        kit____init__="",
        kit__tool="from .deep import leaf\nT = leaf.L + 1",
        kit__deep____init__="from . import leaf",
        kit__deep__leaf="from ..base import B\nL = B",
        kit__base="B = 10",
    )
    (folder / "kit" / "__init__.py").touch()
    named = Named("steps.py:step", folder, {})
    assert result(named) == (1, 11, 10)
    write(kit__base="B = 20")
    assert not named.is_current()
    assert result(Named("steps.py:step", folder, {})) == (1, 21, 20)


@pytest.mark.parametrize(
    ("helper", "said"),
    [
        ("def broken(:", "helper.py:1: SyntaxError: "),
        ("\nimport no_such_thing_anywhere", "helper.py:2: ModuleNotFoundError: No module named 'no_such_"),
        ("\n\n1 / 0", "helper.py:3: ZeroDivisionError: division by zero"),
        ("class E(Exception):\n    def __str__(self): raise E\nraise E",
         "helper.py:3: E: (its text cannot be read)"),
    ],
)  # fmt: skip
def test_a_fault_of_a_helper_is_told_with_its_own_file_and_line(
    write: Callable[..., Path], helper: str, said: str
) -> None:
    folder = write(steps="import helper\ndef step(r): ...", helper=helper)
    with pytest.raises(ConfigError) as refused:
        Named("steps.py:step", folder, {})
    assert f"{folder}/{said}" in str(refused.value)
    write(helper="V = 1")
    Named("steps.py:step", folder, {})


@pytest.mark.parametrize(
    ("source", "params", "keys", "said"),
    [
        ("def step(record, z): ...", {"zz": 1}, ("params", "zz"), "has no param 'zz': did you mean 'z'?"),
        ("def step(record, *, z): ...", {}, ("function",), "give 'z' in params"),
        ("def step(record, z, y): ...", {"z": 1}, ("params",), "needs 'y' in params"),
        ("def step(record): ...", {"record": 1}, ("params", "record"), "'record' is the record itself"),
        ("def step(record): ...", {"q": 1}, ("params", "q"), "has no param 'q': it takes none"),
        ("class step:\n    def __init__(self, path): ...\n    def __call__(self, r): ...", {"pth": 1},
         ("params", "pth"), "did you mean 'path'?"),
        ("class step:\n    def __init__(self, path): ...\n    def __call__(self, r): ...", {}, ("params",),
         "needs 'path' in params"),
        ("class step:\n    def __call__(self): ...", {}, ("function",), "has a __call__ that takes"),
        ("class step: ...", {}, ("function",), "is a class without __call__(self, record)"),
        ("class step:\n    def __call__(self, r): yield r", {}, ("function",), "return a list instead"),
    ],
)  # fmt: skip
def test_params_are_held_against_the_signature(
    write: Callable[..., Path], source: str, params: dict[str, Any], keys: tuple[str, ...], said: str
) -> None:
    folder = write(steps=source)
    with pytest.raises(ConfigError) as refused:
        Named("steps.py:step", folder, params)
    assert refused.value.keys == keys
    assert said in str(refused.value)
    assert f"{folder}/steps.py:1" in str(refused.value)


def test_params_reach_functions_and_objects_and_nothing_changes_the_configuration(
    write: Callable[..., Path],
) -> None:
    folder = write(
        steps="def plain(record, z, *, names=()):\n    names.append(z)\n    return len(names)\n"
        "def any_of_them(record, **more): return more\n"
        "made = []\nclass Model:\n    def __init__(self, z=1): self.z = z; made.append(1)\n"
        "    def __call__(self, record): return (self.z, len(made))\n"
        "class Later(Model):\n    async def __call__(self, record): return 1\n"
    )
    params = {"z": 3, "names": ["a"]}
    assert result(Named("steps.py:plain", folder, params)) == 2
    assert params == {"z": 3, "names": ["a"]}
    assert result(Named("steps.py:any_of_them", folder, {"x": 1})) == {"x": 1}
    model = Named("steps.py:Model", folder, {"z": 7})
    assert (model.is_class, model.is_async) == (True, False)
    assert result(model) == (7, 1)
    assert Named("steps.py:Later", folder, {}).is_async
