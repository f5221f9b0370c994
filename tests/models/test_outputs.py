import math

import numpy as np
import pytest

from streamd.models.onnx import ModelFault, ModelPort
from streamd.models.outputs import ModelOutput, kind_of, parsed, plain

PORTS = {name: ModelPort(name, "tensor(float)", (None, 2)) for name in ("p", "p[1]")}


def test_a_column_is_written_in_brackets_unless_an_output_has_that_name() -> None:
    assert parsed("p", PORTS) == ("p", None)
    assert parsed("p[0]", PORTS) == ("p", 0)
    assert parsed("p[1]", PORTS) == ("p[1]", None)
    assert parsed("p[1][1]", PORTS) == ("p[1]", 1)
    assert parsed("p[-1]", PORTS) == ("p[-1]", None)
    assert parsed("p[x]", PORTS) == ("p[x]", None)


def test_one_value_of_each_record_or_a_row() -> None:
    table = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert ModelOutput("f", "p", None, "number").select(table, 2).tolist() == [[1, 2], [3, 4]]
    assert ModelOutput("f", "p", 1, "number").select(table, 2).tolist() == [2, 4]
    assert ModelOutput("f", "p", None, "number").select(table[:, :1], 2).tolist() == [1, 3]
    assert ModelOutput("f", "p", None, "number").select(table[0], 2).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("shape", "column", "words"),
    [
        ((3,), None, r"the output 'p' has the shape \[3\] for 2 records"),
        ((2, 2, 2), None, "the shape"),
        ((), None, "the shape"),
        ((2, 2), 2, r"the shape \[2, 2\] for 2 records and column 2"),
        ((2,), 0, "and column 0"),
    ],
)
def test_another_shape_is_a_fault(shape: tuple[int, ...], column: int | None, words: str) -> None:
    with pytest.raises(ModelFault, match=words) as fault:
        ModelOutput("f", "p", column, "number").select(np.zeros(shape), 2)
    assert fault.value.reason == "run"


def test_values_are_those_of_python_and_never_nan() -> None:
    values, bad = plain(np.array([1.5, math.nan, -math.inf], np.float32))
    assert (values, bad) == ([1.5, None, None], 2)
    assert plain(np.array([[1.0, math.nan], [2.0, 3.0]])) == ([[1.0, None], [2.0, 3.0]], 1)
    for array in (np.array([1, 2]), np.array(["a", "b"], object), np.array([True, False])):
        values, bad = plain(array)
        assert (values, bad) == (array.tolist(), 0)
    assert type(plain(np.array([1], np.int64))[0][0]) is int
    assert plain(np.zeros((0, 2))) == ([], 0)


def test_labels_are_everything_but_floats() -> None:
    kinds = {"tensor(int64)": True, "tensor(string)": True, "tensor(bool)": True, "tensor(float)": False}
    for type_name, is_label in kinds.items():
        kind = kind_of(ModelPort("p", type_name, (None,)))
        assert kind is not None
        assert ModelOutput("f", "p", None, kind).is_label == is_label
    assert kind_of(ModelPort("p", "seq(map(int64,tensor(float)))", ())) is None
