from typing import Any

import pytest

from streamd.core.errors import ConfigError
from streamd.models.inputs import ModelInput
from streamd.models.onnx import ModelPort
from streamd.models.outputs import ModelOutput
from streamd.models.plan import ModelPlan, Wanted

X = ModelPort("X", "tensor(float)", (None, 2))
LABEL = ModelPort("label", "tensor(int64)", (None,))
CHANCES = ModelPort("probabilities", "tensor(float)", ("N", 3))


class Signature:
    """A model that has nothing but its inputs and outputs."""

    def __init__(self, inputs: list[ModelPort], outputs: list[ModelPort]) -> None:
        self.inputs, self.outputs = inputs, outputs


def plan(
    inputs: Any = ("a", "b"),
    outputs: Any = None,
    *,
    of: list[ModelPort] | None = None,
    gives: Any = (LABEL, CHANCES),
) -> ModelPlan:
    signature: Any = Signature([X] if of is None else of, list(gives))
    return Wanted(inputs, outputs).plan(signature)


def test_the_fields_of_the_only_input_in_their_order() -> None:
    assert plan(["b", "a"]).inputs == (ModelInput("X", ("b", "a"), "number", "f4", flat=False),)
    assert plan({"X": ["b", "a"]}) == plan(["b", "a"])
    assert plan(["b", "a"]).fields == ["b", "a"]
    open_width = ModelPort("X", "tensor(double)", ("N", None))
    assert plan(["a", "b", "c"], of=[open_width]).fields == ["a", "b", "c"]


def test_inputs_have_the_names_of_fields_by_default() -> None:
    ports = [ModelPort("t", "tensor(float)", (None, 1)), ModelPort("site", "tensor(string)", (None,))]
    assert plan(None, of=ports).inputs == (
        ModelInput("t", ("t",), "number", "f4", flat=False),
        ModelInput("site", ("site",), "text", "O", flat=True),
    )
    assert plan({"site": "place", "t": ["t"]}, of=ports).fields == ["t", "place"]


def test_all_outputs_are_fields_of_their_names_by_default() -> None:
    assert plan().outputs == (
        ModelOutput("label", "label", None, "integer"),
        ModelOutput("probabilities", "probabilities", None, "number"),
    )
    chosen = plan(outputs={"fault": "label", "chance": "probabilities[2]"})
    assert chosen.outputs == (
        ModelOutput("fault", "label", None, "integer"),
        ModelOutput("chance", "probabilities", 2, "number"),
    )


OTHER = ModelPort("Y", "tensor(float)", (None, 1))


@pytest.mark.parametrize(
    ("inputs", "ports", "keys", "words"),
    [
        (["a"], [X], ("inputs",), "'X' takes 2 values of each record, not 1"),
        (None, [X], ("inputs",), "'X' takes 2 values of each record: name their fields in the order"),
        (["a"], [X, OTHER], ("inputs",), "2 inputs: give the fields of each, like inputs = { X = "),
        (["a"], [], ("inputs",), "has 0 inputs"),
        ({"x": ["a", "b"]}, [X], ("inputs", "x"), "no input 'x': there are X"),
        ({"XX": ["a", "b"]}, [X], ("inputs", "XX"), "no input 'XX': did you mean 'X'"),
        ({"X": ["a", "b"]}, [X, OTHER], ("inputs",), "another input, 'Y': give its fields"),
        (["a"], [ModelPort("X", "tensor(complex64)", (None, 1))], ("inputs",), "type tensor.complex64"),
        ({"X": "a"}, [ModelPort("X", "seq(tensor(float))", ())], ("inputs", "X"), "has the type seq"),
        (["a"], [ModelPort("X", "tensor(float)", (None, 3, 8))], ("inputs",), "has 3 dimensions; possible"),
        (["a"], [ModelPort("X", "tensor(float)", ())], ("inputs",), "has 0 dimensions"),
        (["a"], [ModelPort("X", "tensor(float)", (1, 1))], ("inputs",), "1 record at a time: export"),
        (["a", "b"], [ModelPort("X", "tensor(float)", (None,))], ("inputs",), "1 value of each record"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_suit_the_model(
    inputs: Any, ports: list[ModelPort], keys: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        plan(inputs, of=ports)
    assert error.value.keys == keys


ZIPMAP = ModelPort("output_probability", "seq(map(int64,tensor(float)))", ())


@pytest.mark.parametrize(
    ("outputs", "ports", "keys", "words"),
    [
        ({"f": "labels"}, [LABEL], ("outputs", "f"), "no output 'labels': did you mean 'label'?"),
        ({"f": "?"}, [LABEL, CHANCES], ("outputs", "f"), "no output '?': there are label, probabilities"),
        ({"f": "label[0]"}, [LABEL], ("outputs", "f"), "'label' has no columns: write 'label'"),
        ({"f": "probabilities[3]"}, [CHANCES], ("outputs", "f"), "'probabilities' has columns 0 to 2"),
        ({"f": "output_probability"}, [LABEL, ZIPMAP], ("outputs", "f"), '"zipmap": False'),
        (None, [LABEL, ZIPMAP], ("outputs",), '"zipmap": False'),
        ({"f": "s"}, [ModelPort("s", "seq(tensor(float))", ())], ("outputs", "f"), "gives no values$"),
        ({"f": "d"}, [ModelPort("d", "tensor(float)", (None, 2, 2))], ("outputs", "f"), "has 3 dimensions"),
        (None, [ModelPort("@source", "tensor(float)", (None,))], ("outputs",), "needs another name"),
        (None, [ModelPort('a"b', "tensor(float)", (None,))], ("outputs",), "needs another name"),
    ],
)  # fmt: skip
def test_outputs_that_do_not_suit_the_model(
    outputs: Any, ports: list[ModelPort], keys: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words.replace("?", r"\?")) as error:
        plan(outputs=outputs, gives=ports)
    assert error.value.keys == keys


def test_a_model_with_zipmap_may_give_its_label() -> None:
    assert plan(outputs={"f": "label"}, gives=[LABEL, ZIPMAP]).outputs == (
        ModelOutput("f", "label", None, "integer"),
    )
    unknown = ModelPort("p", "tensor(float)", (None, None))
    assert plan(outputs={"f": "p[7]"}, gives=[unknown]).outputs[0].column == 7
