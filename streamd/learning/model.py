"""Makes the river model that a configuration names, and tells what it predicts."""

import contextlib
import copy
import difflib
import hashlib
import inspect
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from streamd.core.errors import ConfigError
from streamd.core.failure import failure_of
from streamd.core.listed import listed
from streamd.functions.imported import Imported
from streamd.learning import pickles

Kind = Literal["classifier", "regressor", "detector"]

_ACCEPTED = (
    "a classifier, a regressor or an anomaly detector that learns without labels"
    " (river.base.Classifier, Regressor, AnomalyDetector), also at the end of a pipeline"
)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_PRIVATE = re.compile(r"\bstreamd_step_\d+\.")
_DEEPEST = 20
_MOST_TRIED_BYTES = 1_000_000
"""Reading takes up to 0.3 s a megabyte. A larger model is tried only when it is restored."""


def river(module: str = "", option: str = "model") -> Any:
    """The package river or a module of it. Raises `ConfigError` at the option if it is not installed."""
    try:
        return import_module(f"river.{module}" if module else "river")
    except ImportError:
        raise ConfigError(
            "models that learn need the package river: pip install 'streamd-daemon[analytics]'", (option,)
        ) from None


class RiverModel(Imported):
    """A class of river, or a function or class of the user's that returns an estimator of river."""

    def __init__(self, reference: str, base_dir: Path, params: Mapping[str, Any]) -> None:
        """Import the module and check the params. Raises `ConfigError`."""
        river()
        super().__init__(reference, base_dir, "model", "function or class")
        self._base_dir = base_dir
        self.params = dict(params)
        """The keyword arguments of the model."""
        self.reference = reference
        if not callable(self.found):
            raise ConfigError(
                f"{self.where} is not a function or class but {type(self.found).__name__}", ("model",)
            )
        self._check_params()

    @property
    def is_of_river(self) -> bool:
        """Whether the configuration names a class of river itself."""
        return self.reference.partition(".")[0] == "river"

    def make(self, without: Collection[str] = ()) -> Any:
        """A new model, which has learned nothing here. Raises `ConfigError` if that fails.

        Params in `without` are left out.
        """
        params = {name: value for name, value in self.params.items() if name not in without}
        try:
            # Standard output may carry the records of a sink or of `streamd try`.
            with contextlib.redirect_stdout(sys.stderr):
                return self.found(**copy.deepcopy(params))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            text = failure_of(error, self._base_dir).text
            raise ConfigError(f"{self.reference} makes no model: {text}", ("model",)) from error

    def check_stored(self, model: Any) -> None:
        """Raises `ConfigError` if the state could not contain a model as it was made."""
        try:
            pickled = pickles.dump(model)
            if len(pickled) <= _MOST_TRIED_BYTES:
                pickles.load(pickled, self.module)
        except Exception as error:
            raise ConfigError(
                f"{self.reference}: the model cannot be stored: {failure_of(error).text}", ("model",)
            ) from error

    def kind_of(self, model: Any) -> Kind:
        """What the model predicts. Raises `ConfigError` for an object that is no such model."""
        base, pipeline = river("base"), river("compose").Pipeline
        last = model
        while isinstance(last, pipeline) and last.steps:
            last = next(reversed(last.steps.values()))
        several = (base.MultiLabelClassifier, base.MultiTargetRegressor)
        if isinstance(last, base.AnomalyFilter):
            last = last.anomaly_detector
        if not isinstance(last, several):
            if isinstance(last, base.Classifier):
                return "classifier"
            if isinstance(last, base.Regressor):
                return "regressor"
            if isinstance(last, base.AnomalyDetector):
                return "detector"
        made = last if isinstance(last, type) else type(last)
        is_class = "the class " if isinstance(last, type) else ""
        raise ConfigError(
            f"{self.reference} makes {is_class}{class_name(made)}; accepted is {_ACCEPTED}", ("model",)
        )

    def _check_params(self) -> None:
        try:
            signature = inspect.signature(self.found)
        except (ValueError, TypeError):  # a built-in without a signature
            return
        parameters = signature.parameters
        named = [
            name
            for name, parameter in parameters.items()
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        ]
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        for name in self.params:
            if name not in named and not takes_any:
                close = difflib.get_close_matches(name, named, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"it takes {listed(named) or 'none'}"
                raise ConfigError(f"{self.reference} has no param {name!r}: {hint}", ("params", name))
        try:
            signature.bind(**self.params)
        except TypeError:
            missing = [
                name
                for name in named
                if name not in self.params and parameters[name].default is inspect.Parameter.empty
            ]
            words = listed(map(repr, missing)) or "other arguments"
            raise ConfigError(f"{self.reference} needs {words} in params", ("params",)) from None


def class_name(kind: type) -> str:
    """`river.linear_model.log_reg.LogisticRegression`; a class of the user's without its private prefix."""
    return _PRIVATE.sub("", f"{kind.__module__}.{kind.__qualname__}")


def definition_of(model: Any) -> str:
    """A digest of the classes and params of a model that has learned nothing yet."""
    text = "\n".join(_described(model, 0))
    return hashlib.blake2b(_PRIVATE.sub("", _ADDRESS.sub("", text)).encode(), digest_size=8).hexdigest()


def _described(value: Any, depth: int) -> Iterator[str]:
    base = river("base").Base
    if depth == _DEEPEST:
        return
    if isinstance(value, base):
        yield f"{class_name(type(value))}("
        parts = value.steps if isinstance(value, river("compose").Pipeline) else _params_of(value)
        for name, part in parts.items():
            yield f"{name}="
            yield from _described(part, depth + 1)
        yield ")"
    elif isinstance(value, Mapping):
        yield "{"
        for key, part in value.items():
            yield f"{key!r}:"
            yield from _described(part, depth + 1)
        yield "}"
    elif isinstance(value, list | tuple):
        yield "["
        for part in value:
            yield from _described(part, depth + 1)
        yield "]"
    elif isinstance(value, set | frozenset):
        yield from sorted(map(repr, value))
    elif isinstance(value, type) or inspect.isroutine(value):
        yield f"{value.__module__}.{value.__qualname__}"
    else:
        yield repr(value)


def _params_of(model: Any) -> dict[str, Any]:
    """The arguments of the constructor, as far as the model keeps them under their names."""
    return {
        name: getattr(model, name)
        for name in inspect.signature(type(model).__init__).parameters
        if hasattr(model, name)
    }
