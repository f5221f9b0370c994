import collections
import functools
import inspect
import io
import os
import pickle
import random
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import river.api

from streamd.learning import pickles
from streamd.learning.model import RiverModel

anomaly: Any = import_module("river.anomaly")
base: Any = import_module("river.base")
compose: Any = import_module("river.compose")
datasets: Any = import_module("river.datasets")
linear_model: Any = import_module("river.linear_model")
optim: Any = import_module("river.optim")
preprocessing: Any = import_module("river.preprocessing")
tree: Any = import_module("river.tree")

ROWS = [({"a": i * 0.1 % 1, "b": (i * 7 % 13) / 13, "c": (i % 5) / 5}, i % 2) for i in range(60)]
OF_OTHER_PACKAGES = {"SKL2RiverClassifier", "SKL2RiverRegressor"}


def nobodys(name: str) -> None:
    del name


def kind_of(cls: type) -> str:
    for kind in (base.Classifier, base.Regressor, base.AnomalyDetector):
        if issubclass(cls, kind):
            return str(kind.__name__)
    return ""


def learn(model: Any, x: dict[str, float], label: int) -> None:
    kind = kind_of(type(model))
    if kind == "AnomalyDetector":
        model.learn_one(x)
    else:
        model.learn_one(x, bool(label) if kind == "Classifier" else float(label))


def predicted(model: Any, x: dict[str, float]) -> Any:
    return model.score_one(x) if isinstance(model, base.AnomalyDetector) else model.predict_one(x)


def models() -> Iterator[tuple[str, Any]]:
    """Every classifier, regressor and anomaly detector of river that can learn the rows."""
    modules = [module for module in vars(river.api).values() if inspect.ismodule(module)]
    classes: set[Any] = {cls for module in modules for cls in vars(module).values() if inspect.isclass(cls)}
    for cls in sorted(classes, key=lambda cls: f"{cls.__module__}.{cls.__qualname__}"):
        if not issubclass(cls, base.Estimator) or inspect.isabstract(cls) or not kind_of(cls):
            continue
        try:
            made = cls(**next(iter([*cls._unit_test_params(), {}])))
            for x, label in ROWS[:40]:
                predicted(made, x)
                learn(made, x, label)
        except Exception:  # noqa: BLE001, S112 - it needs other arguments or other rows
            continue
        yield cls.__name__, made


def test_every_model_of_river_goes_on_as_if_it_had_not_been_stored() -> None:
    tried = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, made in models():
            if name in OF_OTHER_PACKAGES:
                with pytest.raises(ValueError, match=r"sklearn\.linear_model.* is no part of a model"):
                    pickles.load(pickles.dump(made), nobodys)
                continue
            again = pickles.load(pickles.dump(made), nobodys)
            assert type(again) is type(made)
            for x, label in ROWS[40:]:
                one, other = predicted(made, x), predicted(again, x)
                assert one == other or (one != one and other != other), name  # noqa: PLR0124 - NaN
                learn(made, x, label)
                learn(again, x, label)
            pickles.load(pickles.dump(again), nobodys)
            tried += 1
    assert tried > 60


def test_a_pipeline_of_several_parts_goes_on_too() -> None:
    made = (
        compose.Select("a", "b") + (compose.Select("c") | preprocessing.MinMaxScaler())
        | preprocessing.StandardScaler()
        | linear_model.LinearRegression(optimizer=optim.Adam(0.05), l2=0.01)
    )
    again = None
    for n, (x, label) in enumerate(ROWS):
        if n == 30:
            again = pickles.load(pickles.dump(made), nobodys)
        for model in filter(None, (made, again)):
            model.learn_one(x, float(label))
    assert again is not None
    # equal up to rounding: the reason is not known
    assert [made.predict_one(x) for x, _ in ROWS] == pytest.approx([again.predict_one(x) for x, _ in ROWS])


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -1, 255, 65536, -(2**31), 2**200, -(2**200), 1.5, float("inf"), "", "ä€😀", "x" * 300,
        "\ud800", b"", b"x" * 300, bytearray(b"ab"), bytearray(), [], [1], list(range(2000)), {}, {1: 2},
        dict.fromkeys(range(2000)), (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), set(), {1, 2}, frozenset({1}),
        collections.deque([1, 2], 5), collections.Counter("ab"), collections.OrderedDict(b=1, a=2),
        collections.defaultdict(float, {"a": 1.0}), complex(1, 2), slice(1, 2), np.float64(1.5), np.int32(7),
        np.bool_(1), np.str_("ab"),
    ],
)  # fmt: skip
def test_plain_values_come_back_equal_and_of_the_same_type(value: Any) -> None:
    found = pickles.load(pickles.dump(value), nobodys)
    assert found == value
    assert type(found) is type(value)
    assert getattr(found, "maxlen", None) == getattr(value, "maxlen", None)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0).reshape(2, 3), np.arange(6).reshape(2, 3).T, np.arange(12).reshape(3, 4)[:, ::2],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array(["a", "bc"]), np.array([], "f4"),
        np.array([{"a": 1}, None, "x"], object), np.array(3.5), np.zeros((2, 0)), np.array([True, False]),
    ],
)  # fmt: skip
def test_arrays_come_back_equal(value: Any) -> None:
    found = pickles.load(pickles.dump(value), nobodys)
    np.testing.assert_array_equal(found, value)
    assert (found.dtype, found.shape) == (value.dtype, value.shape)
    assert found.flags.writeable


@pytest.mark.parametrize("new", [random.Random, np.random.RandomState, np.random.default_rng])
def test_random_generators_go_on(new: Callable[[int], Any]) -> None:
    made = new(7)
    made.random()
    again = pickles.load(pickles.dump(made), nobodys)
    assert [made.random() for _ in range(1000)] == [again.random() for _ in range(1000)]


def test_one_object_in_two_places_stays_one() -> None:
    shared: list[Any] = [1]
    shared.append(shared)
    found = pickles.load(pickles.dump({"a": shared, "b": shared}), nobodys)
    assert found["a"] is found["b"]
    assert found["a"][1] is found["a"]


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self._reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self._reduced


def named(module: str, name: str, *rest: bytes) -> bytes:
    """A pickle that looks up a name, followed by other instructions."""
    texts = b"".join(b"\x8c" + bytes((len(text),)) + text.encode() for text in (module, name))
    return b"\x80\x05" + texts + b"\x93" + b"".join(rest) + b"."


TOUCH = ["touch", "was-here"]
HOSTILE: dict[str, Any] = {
    "os.system": Calls(os.system, "touch was-here"),
    "subprocess.run": Calls(subprocess.run, TOUCH),
    "eval": Calls(eval, "open('was-here', 'w')"),
    "exec": Calls(exec, "open('was-here', 'w')"),
    "open": Calls(open, "was-here", "w"),
    "import": Calls(__import__, "antigravity"),
    "within a model": {"model": linear_model.LinearRegression(), "x": Calls(os.system, "touch was-here")},
    "as a key": {Calls(os.system, "touch was-here"): 1},
    "partial": Calls(functools.partial(os.system, "touch was-here")),
    "getattr of a class": Calls(getattr, linear_model.LinearRegression, "__init__"),
    "globals of a function": Calls(getattr, linear_model.LinearRegression.learn_one, "__globals__"),
    "numpy.load": Calls(np.load, "was-here"),
    "numpy.save": Calls(np.save, "was-here", 1),
    "numpy.fromfile": Calls(np.fromfile, "was-here"),
    "numpy.memmap": Calls(np.memmap, "was-here", "u1", "w+", 0, (4,)),
    "numpy.vectorize": Calls(np.vectorize, Calls(os.system, "touch was-here")),
    "a file of river": Calls(datasets.base.RemoteDataset, "http://127.0.0.1:1", 1),
    "Path.touch": Calls(Path.touch, Path("was-here")),
    "a method with two underscores": Calls(getattr, linear_model.LinearRegression(), "__init__"),
    "a metaclass": Calls(type(linear_model.LinearRegression), "New", (linear_model.LinearRegression,), {}),
    "bytearray of any size": Calls(bytearray, 10**15),
    "range as a list": Calls(list, Calls(range, 10**12)),
    "sys.modules": Calls(sys.modules.__class__, {"a": 1}),
    "type": Calls(type, "New", (linear_model.LinearRegression,), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused_without_any_effect(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps(HOSTILE[name], 5)
    monkeypatch.setitem(sys.modules, "antigravity", None)
    with pytest.raises(ValueError, match="the stored model cannot be read"):
        pickles.load(pickled, nobodys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"), ("posix", "system"), ("builtins", "eval"), ("builtins", "exec"),
        ("builtins", "open"),
        ("builtins", "type"), ("builtins", "object"), ("builtins", "__import__"), ("subprocess", "Popen"),
        ("numpy", "load"), ("numpy.testing._private.utils", "runstring"), ("numpy", "f2py"), ("numpy", "os"),
        ("pickle", "loads"), ("importlib", "import_module"), ("river", "datasets"),
        ("river.datasets", "Bikes"), ("river.datasets.base", "RemoteDataset"), ("river.stream", "Cache"),
        ("river.stream.cache", "os.remove"), ("river.base.base", "sys"), ("river.base.base", "sys.exit"),
        ("river.anomaly.hst", "functools"), ("river.anomaly.hst", "random.Random"),
        ("river.utils.pretty", "io.open"), ("river.bandit.datasets", "NewsArticles"), ("river.nothing", "X"),
        ("river.linear_model", "LinearRegression.learn_one.__globals__"), ("riverside", "X"),
        ("streamd.steps.river", "River"), ("builtins", "str.format.__self__"), ("shutil", "rmtree"),
    ],
)  # fmt: skip
def test_no_name_leads_out_of_the_models(module: str, name: str) -> None:
    with pytest.raises(ValueError, match="the stored model cannot be read"):
        pickles.load(named(module, name), nobodys)


def test_a_name_of_an_unknown_module_is_not_imported() -> None:
    sys.modules.pop("this", None)
    with pytest.raises(ValueError, match=r"this\.X is no part of a model"):
        pickles.load(named("this", "X"), nobodys)
    assert "this" not in sys.modules


def test_the_state_of_a_class_is_not_set() -> None:
    model = linear_model.LinearRegression
    before = model.learn_one
    # the second part of a state are attributes that are set one by one, on a class too
    state = b"N}\x8c\x09learn_one\x8c\x08builtins\x8c\x05float\x93s\x86"
    with pytest.raises(ValueError, match="does not change the class LinearRegression"):
        pickles.load(named("river.linear_model.lin_reg", "LinearRegression", state, b"b"), nobodys)
    assert model.learn_one is before


@pytest.mark.parametrize(
    ("module", "name"), [("builtins", "list"), ("builtins", "int"), ("numpy", "ndarray"), ("numpy", "dtype")]
)
def test_plain_classes_and_arrays_are_not_made_without_their_values(module: str, name: str) -> None:
    with pytest.raises(ValueError, match="a model has no object of"):
        pickles.load(named(module, name, b")\x81"), nobodys)


def test_a_method_is_a_value_that_reading_does_not_call() -> None:
    model = named("river.linear_model.lin_reg", "LinearRegression")[2:-1]
    method = named("builtins", "getattr", model, b")\x81", b"\x8c\x09learn_one\x86R")
    assert pickles.load(method, nobodys).__name__ == "learn_one"
    with pytest.raises(ValueError, match="reading a model does not call"):
        pickles.load(method[:-1] + b")R.", nobodys)


@pytest.mark.parametrize(
    "instructions",
    [
        b"cos\nsystem\n.", b"(Vtouch was-here\nios\nsystem\n.", b"(cos\nsystem\nVx\no.", b"\x82\x01.",
        b"Pabc\n.",
        b"N\x97.", b"\x98.", b"I01\n.", b"S'a'\n.", b"0.", b"a.", b"(.", b"R.", b"\x94.", b"h\x05.", b"\x85.",
        b"", b".", b"\x8c\xff.", b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x95\xff.", b"NN.", b"K\x01K\x02s.", b"K\x01(K\x02e.", b"K\x01(K\x02\x90.", b"K\x01K\x02b.",
        b"]}b.", b"G\x00.", b"\x8a\x05\x01.", b"NN\x93.", b"\x8c\x01\xff.",
    ],
)  # fmt: skip
def test_instructions_that_no_model_needs_or_that_end_early_are_refused(instructions: bytes) -> None:
    with pytest.raises(ValueError, match="the stored model cannot be read"):
        pickles.load(b"\x80\x05" + instructions, nobodys)


DEEP = b")" + b"\x85" * 10**6
"""A tuple nested a million deep."""
WIDE = b")\x94" + b"".join(bytes((0x68, n, 0x68, n, 0x86, 0x94)) for n in range(60))
"""A tuple that contains its predecessor twice, sixty times."""


def called(module: str, name: str, *arguments: bytes) -> bytes:
    """The instructions that call a function with up to three arguments."""
    return named(module, name, *arguments, b"\x84\x85\x86\x87"[len(arguments) :][:1], b"R")[2:-1]


@pytest.mark.parametrize("nested", [DEEP, WIDE], ids=["deep", "wide"])
@pytest.mark.parametrize(
    "used",
    [
        lambda nested: b"}" + nested + b"Ns", lambda nested: b"}(" + nested + b"Nu",
        lambda nested: b"\x8f(" + nested + b"\x90", lambda nested: b"(" + nested + b"\x91",
        lambda nested: called("collections", "Counter", nested + b"\x85"),
        lambda nested: called("collections", "OrderedDict", nested + b"N\x86\x85"),
        lambda nested: called("random", "Random", nested), lambda nested: nested,
    ],
)  # fmt: skip
def test_a_tuple_that_cannot_be_hashed_is_refused(nested: bytes, used: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ValueError, match="its values are nested too deeply"):
        pickles.load(b"\x80\x05" + used(nested) + b".", nobodys)


@pytest.mark.parametrize("made", [b"(N\x91", b"N\x85", b"(NNNNt", b"NNN\x87"])
@pytest.mark.parametrize("around", [b"\x85", b"N\x86", b"NN\x87", b"NNNt", b"\x91", b"slice"])
def test_fifty_levels_are_read_and_no_more_of_whatever_kind(made: bytes, around: bytes) -> None:
    before = {b"NNNt": b"(", b"\x91": b"(", b"slice": named("builtins", "slice")[2:-1]}.get(around, b"")
    after = b"\x85R" if around == b"slice" else around
    if around == b"slice" and sys.version_info < (3, 12):
        made = made.replace(b"(N\x91", b"N\x85")  # no slice has a hash, and none is hashed here
    for levels, is_read in ((49, True), (50, False)):
        pickled = b"\x80\x05" + before * levels + made + after * levels + b"."
        if is_read:
            assert pickles.load(pickled, nobodys) is not None
        else:
            with pytest.raises(ValueError, match="nested too deeply"):
                pickles.load(pickled, nobodys)


def test_a_large_tuple_is_no_key_again_and_again() -> None:
    large = b"(" + b"N" * 9000 + b"t\x94"
    few, many = (b"\x80\x05}" + large + b"N" + b"sh\x00N" * times + b"s." for times in (10, 10_000))
    assert len(pickles.load(few, nobodys)) == 1
    with pytest.raises(ValueError, match="its keys are too large"):
        pickles.load(many, nobodys)


def test_tuples_are_keys_of_large_models() -> None:
    made = {(n, (str(n), (1.5, True))): n for n in range(20_000)}
    again = {
        "a": made,
        "b": dict.fromkeys(made),
        "c": set(made),
        "d": frozenset(made),
        "e": tuple(range(10**5)),
    }
    assert pickles.load(pickles.dump(again), nobodys) == again


def test_a_chain_of_arrays_is_no_longer_than_it_can_be_freed() -> None:
    ragged = np.empty(1000, object)
    ragged[:] = [np.arange(n % 3) for n in range(1000)]
    found = pickles.load(pickles.dump(ragged), nobodys)
    assert [row.tolist() for row in found] == [row.tolist() for row in ragged]
    chain = ragged
    for number in range(2):  # the elements are counted, because a chain can be tied in any order
        chain = np.array([chain, None], object)
        chain[1] = number
    with pytest.raises(ValueError, match="too many arrays of arrays"):
        pickles.load(pickles.dump(chain), nobodys)


def test_every_damaged_byte_is_read_or_refused() -> None:
    made = tree.HoeffdingTreeClassifier()
    for x, label in ROWS[:30]:
        made.learn_one(x, label)
    whole = pickles.dump((made, np.random.RandomState(1), np.arange(3.0)))
    random_ = random.Random(1)  # noqa: S311 - no secret
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(random_.randint(1, 3)):
            damaged[random_.randrange(len(damaged))] = random_.randrange(256)
        try:
            pickles.load(
                bytes(damaged[: random_.choice([len(damaged), random_.randrange(len(damaged))])]), nobodys
            )
        except ValueError as error:
            assert str(error).startswith("the stored model cannot be read")  # noqa: PT017 - it may also be read


def arrays_state(*state: Any) -> bytes:
    rebuild = np.zeros((2, 2))[:, :1].__reduce__()[0]
    return pickle.dumps(Calls(rebuild, np.ndarray, (0,), b"b", state=state), 5)


@pytest.mark.parametrize(
    "state",
    [
        (1, (1000,), np.dtype("f8"), False, b"x" * 8),
        (1, (-1,), np.dtype("f8"), False, b"x" * 8),
        (1, (2**62, 4), np.dtype("f8"), False, b""),
        (1, (1,), np.dtype("O"), False, b"x" * 8),
        (1, (3,), np.dtype("O"), False, [1]),
        (1, (1,), np.dtype([("a", "O")]), False, [1]),
        (2, (1,), np.dtype("f8"), False, b"x" * 8),
        (1, (1,), "f8", False, b"x" * 8),
        (1, [1], np.dtype("f8"), False, b"x" * 8),
        (1, (1,), np.dtype("M8[s]"), False, b"x" * 8),
        (1, (1,), np.dtype(">f8"), False, b"x" * 8),
        "x",
    ],
)
def test_an_array_of_another_size_than_its_content_is_refused(state: Any) -> None:
    with pytest.raises(ValueError, match="the stored model cannot be read"):
        pickles.load(arrays_state(*state), nobodys)


@pytest.mark.parametrize("position", [-1, 625, 10**9, 1.0, None])
def test_a_random_generator_that_would_read_behind_its_table_is_refused(position: Any) -> None:
    generator = np.random.RandomState(3)
    function, arguments, state = generator.__reduce__()
    state["state"]["pos"] = position
    with pytest.raises(ValueError, match="a random generator at pos"):
        pickles.load(pickle.dumps(Calls(function, *arguments, state=state), 5), nobodys)


def test_the_classes_of_the_users_modules_are_read_and_only_theirs(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(
        "import os\nfrom os import system\nfrom parts import Own\nclass Mine(Own):\n    class Inner: pass\n"
        "def build():\n    return Mine()\n"
    )
    (tmp_path / "parts.py").write_text(
        "from river import base\nclass Own(base.Regressor):\n    def __init__(self): self.sum = 0\n"
        "    def learn_one(self, x, y): self.sum += y\n    def predict_one(self, x): return self.sum\n"
    )
    maker = RiverModel("models.py:build", tmp_path, {})
    made = maker.make()
    made.learn_one({}, 5)
    made.inner, made.function = type(made).Inner(), sys.modules[type(made).__module__].build
    again = pickles.load(pickles.dump(made), maker.module)
    assert type(again) is type(made)
    assert again.predict_one({}) == 5
    assert again.function is made.function
    name = type(made).__module__
    # a pickle of another process has the module under another number
    there = name.replace("streamd_step_", "streamd_step_99")
    here, away = (bytes((len(text),)) + text.encode() for text in (name, there))
    assert pickles.load(pickles.dump(made).replace(here, away), maker.module).predict_one({}) == 5
    for module, wrong in (
        (name, "system"),
        (name, "os.system"),
        (name, "os"),
        ("models", "nothing"),
        ("other", "X"),
    ):
        with pytest.raises(ValueError, match="is no part of a model"):
            pickles.load(named(module, wrong), maker.module)
    with pytest.raises(ValueError, match="is no part of a model"):
        pickles.load(pickles.dump(made), nobodys)


def test_a_large_model_is_read_within_a_second() -> None:
    made = anomaly.HalfSpaceTrees(seed=1)
    for x, _ in ROWS:
        made.learn_one(x)
    pickled = pickles.dump(made)
    assert len(pickled) > 100_000
    assert pickles.load(pickled, nobodys).score_one(ROWS[0][0]) == made.score_one(ROWS[0][0])


def test_the_protocol_is_the_one_that_is_read() -> None:
    assert pickles.dump([1.0])[:2] == bytes((0x80, 5))
    assert struct.unpack(">d", pickles.dump(1.5)[-9:-1])[0] == 1.5
    assert io.BytesIO(pickles.dump(1)).read(1) == b"\x80"
