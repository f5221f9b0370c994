"""Checks the signature of the function or class of a step, and makes the callable."""

import copy
import difflib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from streamd.core.errors import ConfigError
from streamd.functions.imported import Imported

_CALLED_WITH = "one argument: the record, or in batch mode their list"


class Named(Imported):
    """A function or class with its params. The constructor does not call it."""

    def __init__(self, reference: str, base_dir: Path, params: Mapping[str, Any]) -> None:
        """Import the module and check the signature. Raises `ConfigError` with `keys` below the step."""
        super().__init__(reference, base_dir, "function", "function or class")
        self._params = copy.deepcopy(dict(params))
        found = self.found
        self.is_class = inspect.isclass(found)
        if fault := _fault(found):
            raise ConfigError(f"{self.where} {fault}", ("function",))
        _check_params(found, self._params, self.where)
        called = found.__call__ if self.is_class else found
        self.is_async = any(inspect.iscoroutinefunction(code) for code in (called, found.__call__))

    def make(self) -> Callable[[Any], Any]:
        """The callable for a record or a batch. Makes the object of a class, so it may raise anything."""
        if self.is_class:
            made: Callable[[Any], Any] = self.found(**self._params)
            return made
        return partial(self.found, **self._params) if self._params else self.found

    def has(self, name: str) -> bool:
        """Whether it is a class with the method `name`."""
        return self.is_class and callable(getattr(self.found, name, None))

    def check_clock_and_state(self) -> None:
        """Raises `ConfigError` if one of two methods that belong together is missing, or if one is async."""
        for name, other in (("tick", "next_deadline"), ("snapshot", "restore")):
            if self.has(name) != self.has(other):
                one, missing = (name, other) if self.has(name) else (other, name)
                raise ConfigError(f"{self._name_of_class}: {one} needs {missing}", ("function",))
            for method in (name, other):
                if self.has(method) and inspect.iscoroutinefunction(getattr(self.found, method)):
                    raise ConfigError(f"{self._name_of_class}: {method} must not be async", ("function",))

    @property
    def _name_of_class(self) -> str:
        return f"class {self.found.__name__}"

    @property
    def state_version(self) -> int:
        """The version of the snapshot format; 1 if the class sets none."""
        version = getattr(self.found, "state_version", 1)
        return version if type(version) is int else 1


def _fault(found: Any) -> str:
    """Why it cannot be called with one argument; empty if it can."""
    if inspect.isclass(found):
        if not any("__call__" in vars(base) for base in found.__mro__):
            return "is a class without __call__(self, record)"
        call: Any = found.__call__
        if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
            return "has a __call__ that is a generator: return a list instead of yielding"
        return _cannot_be_called(call, "has a __call__ that", None, None)
    if not callable(found):
        return f"is not a function or class but {type(found).__name__}"
    for code in (found, found.__call__):
        if inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
            return "is a generator: return a list instead of yielding"
    return ""


def _cannot_be_called(called: Any, who: str, *arguments: None) -> str:
    signature = _signature(called)
    if signature is not None:
        try:
            signature.bind(*arguments)
        except TypeError:
            return f"{who} takes {signature}, but is called with {_CALLED_WITH}"
    return ""


def _signature(called: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(called)
    except (ValueError, TypeError):  # a built-in without a signature
        return None


def _check_params(found: Any, params: Mapping[str, Any], who: str) -> None:
    """Raises `ConfigError` if the function or class cannot be called with these params."""
    signature = _signature(found)
    if signature is None:
        return
    given = () if inspect.isclass(found) else (None,)
    named = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    positional = [name for name, p in signature.parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    first = positional[0] if given and positional else None
    for name in params:
        if name == first:
            raise ConfigError(f"{who}: {name!r} is the record itself, not a param", ("params", name))
        if name not in named and not takes_any:
            close = difflib.get_close_matches(name, named, 1)
            others = [other for other in named if other != first]
            hint = f"did you mean {close[0]!r}?" if close else f"it takes {', '.join(others) or 'none'}"
            raise ConfigError(f"{who} has no param {name!r}: {hint}", ("params", name))
    try:
        signature.bind(*given, **params)
    except TypeError:
        missing = [
            name
            for name in named
            if name != first
            and name not in params
            and signature.parameters[name].default is inspect.Parameter.empty
        ]
        try:
            signature.bind(*given, **params, **dict.fromkeys(missing))
        except TypeError:
            called = f"called with {_CALLED_WITH}" if given else "made with params only"
            raise ConfigError(f"{who} takes {signature}, but is {called}", ("function",)) from None
        words = ", ".join(map(repr, missing))
        if given and not params and missing:
            raise ConfigError(
                f"{who} takes {signature}, but is called with {_CALLED_WITH}; give {words} in params",
                ("function",),
            ) from None
        raise ConfigError(f"{who} needs {words} in params", ("params",)) from None
