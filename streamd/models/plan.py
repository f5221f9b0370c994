"""Which field goes to which input of a model, and which output to which field, checked against the model."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from streamd.core.errors import ConfigError
from streamd.core.field_names import field_name_fault
from streamd.core.json_rules import RESERVED_KEYS
from streamd.core.listed import listed
from streamd.core.plural import counted
from streamd.models.inputs import KINDS, ModelInput
from streamd.models.onnx import ModelPort, OnnxModel
from streamd.models.outputs import ModelOutput, kind_of, parsed

_MATRIX = 2
"""Dimensions of a tensor with records and fields."""


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """The inputs and outputs. Models with the same plan can take each other's place."""

    inputs: tuple[ModelInput, ...]
    outputs: tuple[ModelOutput, ...]

    @property
    def fields(self) -> list[str]:
        """The fields that the model reads."""
        return [field for one in self.inputs for field in one.fields]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options `inputs` and `outputs`."""

    inputs: Sequence[str] | Mapping[str, str | Sequence[str]] | None
    """The fields of the only input, or those of each by its name; None: the inputs have names of fields."""
    outputs: Mapping[str, str] | None
    """ModelOutput, or output and column, by the field that gets it; None: fields get the names of outputs."""

    def plan(self, model: OnnxModel) -> ModelPlan:
        """Raises `ConfigError` with the keys of the option that does not suit the model."""
        return ModelPlan(tuple(_inputs(self, model)), tuple(_outputs(self, model)))


def _inputs(wanted: Wanted, model: OnnxModel) -> list[ModelInput]:
    ports = {port.name: port for port in model.inputs}
    if wanted.inputs is None:
        return [_input(port, (port.name,), ("inputs",), is_default=True) for port in model.inputs]
    if not isinstance(wanted.inputs, Mapping):
        if len(ports) != 1:
            raise ConfigError(
                f"the model has {len(ports)} inputs: give the fields of each, like"
                f' inputs = {{ {next(iter(ports), "X")} = ["field"], … }}; there are {_listed(ports)}',
                ("inputs",),
            )
        return [_input(model.inputs[0], tuple(wanted.inputs), ("inputs",))]
    for name in wanted.inputs:
        if name not in ports:
            raise ConfigError(f"the model has no input {name!r}: {_hint(name, ports)}", ("inputs", name))
    for name in ports:
        if name not in wanted.inputs:
            raise ConfigError(f"the model has another input, {name!r}: give its fields", ("inputs",))
    found = []
    for port in model.inputs:
        fields = wanted.inputs[port.name]
        names = (fields,) if isinstance(fields, str) else tuple(fields)
        found.append(_input(port, names, ("inputs", port.name)))
    return found


def _input(
    port: ModelPort, fields: tuple[str, ...], keys: tuple[str, ...], *, is_default: bool = False
) -> ModelInput:
    if port.type not in KINDS:
        raise ConfigError(
            f"the model's input {port.name!r} has the type {port.type}; possible are {', '.join(KINDS)}", keys
        )
    if not 1 <= len(port.shape) <= _MATRIX:
        raise ConfigError(
            f"the model's input {port.name!r} has {len(port.shape)} dimensions; possible are 1 and 2: a row"
            " of values for each record",
            keys,
        )
    if isinstance(port.shape[0], int):
        raise ConfigError(
            f"the model's input {port.name!r} takes {counted(port.shape[0], 'record')} at a time: export the"
            " model with a first dimension of any size",
            keys,
        )
    width = port.shape[1] if len(port.shape) == _MATRIX else 1
    if isinstance(width, int) and width != len(fields):
        if is_default:
            raise ConfigError(
                f"the model's input {port.name!r} takes {counted(width, 'value')} of each record: name their"
                " fields in the order of the training",
                keys,
            )
        raise ConfigError(
            f"the model's input {port.name!r} takes {counted(width, 'value')} of each record, not"
            f" {len(fields)}",
            keys,
        )
    kind, dtype = KINDS[port.type]
    return ModelInput(port.name, fields, kind, dtype, len(port.shape) == 1)


def _outputs(wanted: Wanted, model: OnnxModel) -> list[ModelOutput]:
    ports = {port.name: port for port in model.outputs}
    if wanted.outputs is None:
        for name in ports:
            fault = "a step does not change metadata" if name in RESERVED_KEYS else field_name_fault(name)
            if not name or fault is not None:
                raise ConfigError(f"the output {name!r} needs another name as a field: {fault}", ("outputs",))
        return [_output(name, name, ports, ("outputs",)) for name in ports]
    return [_output(field, text, ports, ("outputs", field)) for field, text in wanted.outputs.items()]


def _output(field: str, text: str, ports: Mapping[str, ModelPort], keys: tuple[str, ...]) -> ModelOutput:
    name, column = parsed(text, ports)
    if name not in ports:
        raise ConfigError(f"the model has no output {name!r}: {_hint(name, ports)}", keys)
    port = ports[name]
    kind = kind_of(port)
    if kind is None:
        hint = ""
        if port.type.startswith("seq(map("):
            hint = '; convert the model without ZipMap: to_onnx(…, options={"zipmap": False})'
        raise ConfigError(f"the output {name!r} has the type {port.type}, which gives no values{hint}", keys)
    if len(port.shape) > _MATRIX:
        raise ConfigError(f"the output {name!r} has {len(port.shape)} dimensions; possible are 1 and 2", keys)
    if column is not None and port.shape:
        columns = port.shape[1] if len(port.shape) == _MATRIX else 0
        if isinstance(columns, int) and column >= columns:
            known = f"columns 0 to {columns - 1}" if columns else f"no columns: write {name!r}"
            raise ConfigError(f"the output {name!r} has {known}", keys)
    return ModelOutput(field, name, column, kind)


def _hint(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"there are {_listed(known)}"


def _listed(names: Collection[str]) -> str:
    return listed(names) or "none"
