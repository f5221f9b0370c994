"""Checks the signature of the function or class of a step, and makes the callable."""

import copy
import difflib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from streamd.core.errors import ConfigError
from streamd.core.listed import listed
from streamd.functions.imported import Imported

_CALLED_WITH = "one argument: the record, or in batch mode their list"
_CONTEXT = "one argument: the context"


class Named(Imported):
    """A function or class with its params. The constructor does not call it."""

    def __init__(
        self, reference: str, base_dir: Path, params: Mapping[str, Any], given: object = None
    ) -> None:
        """Import the module and check the signature. Raises `ConfigError` with `keys` below the step.

        `given`: the function or class itself; then nothing is imported.
        """
        super().__init__(reference, base_dir, "function", "function or class", given)
        self._params = copy.deepcopy(dict(params))
        found = self.found
        self.is_class = inspect.isclass(found)
        if fault := _fault(found):
            raise ConfigError(f"{self.where} {fault}", ("function",))
        check_params(found, self._params, self.where, "the record itself", _CALLED_WITH)
        self.takes_batches = self.is_class and not _is_callable(found)
        """Whether it is a class with `process(records)` instead of `__call__`."""
        called = found.process if self.takes_batches else found.__call__ if self.is_class else found
        self.is_async = any(inspect.iscoroutinefunction(code) for code in (called, found.__call__))

    def make(self) -> Callable[[Any], Any]:
        """The function, or the object of the class. Making an object may raise anything."""
        if self.is_class:
            made: Callable[[Any], Any] = self.found(**self._params)
            return made
        return partial(self.found, **self._params) if self._params else self.found

    def has(self, name: str) -> bool:
        """Whether it is a class with the method `name`."""
        return self.is_class and callable(getattr(self.found, name, None))

    def check_clock_and_state(self, *, ticks_regularly: bool) -> None:
        """Raises `ConfigError` if a method is missing that belongs to another one, or if one is async.

        `ticks_regularly`: whether the step itself says when `tick` is called.
        """
        for name, other in (("tick", "next_deadline"), ("snapshot", "restore")):
            if self.has(name) == self.has(other) or (name == "tick" and self.has(name) and ticks_regularly):
                continue
            one, missing = (name, other) if self.has(name) else (other, name)
            hint = ', or tick_every = "10s" in the options of the step' if missing == "next_deadline" else ""
            raise ConfigError(f"{self._name_of_class}: {one} needs {missing}{hint}", ("function",))
        for method in ("open", "tick", "next_deadline", "snapshot", "restore"):
            if self.has(method) and inspect.iscoroutinefunction(getattr(self.found, method)):
                raise ConfigError(f"{self._name_of_class}: {method} must not be async", ("function",))
        if ticks_regularly and not self.has("tick"):
            raise ConfigError("only a class with tick(now) can be called so", ("tick_every",))
        if ticks_regularly and self.has("next_deadline"):
            raise ConfigError(
                f"{self._name_of_class}: next_deadline says when tick is called: leave out one of both",
                ("tick_every",),
            )
        if self.has("open") and (
            fault := _cannot_be_called(self.found.open, "has an open that", _CONTEXT, 2)
        ):
            raise ConfigError(f"{self.where} {fault}", ("function",))

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
        return _fault_of_class(found)
    if not callable(found):
        return f"is not a function or class but {type(found).__name__}"
    for code in (found, found.__call__):
        if inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
            return "is a generator: return a list instead of yielding"
    return ""


def _fault_of_class(found: Any) -> str:
    takes_batches = callable(getattr(found, "process", None))
    if _is_callable(found) and takes_batches:
        return "is a class with both __call__(self, record) and process(self, records): rename one of them"
    if not _is_callable(found) and not takes_batches:
        return "is a class without __call__(self, record) or process(self, records)"
    name = "process" if takes_batches else "__call__"
    call: Any = getattr(found, name)
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        return f"has a {name} that is a generator: return a list instead of yielding"
    what = "one argument: the list of records" if takes_batches else _CALLED_WITH
    return _cannot_be_called(call, f"has a {name} that", what, 2)


def _is_callable(found: type) -> bool:
    """Whether objects of the class can be called."""
    return any("__call__" in vars(base) for base in found.__mro__)


def _cannot_be_called(called: Any, who: str, what: str, count: int) -> str:
    """Why it cannot be called with so many arguments; empty if it can."""
    signature = _signature(called)
    if signature is not None:
        try:
            signature.bind(*[None] * count)
        except TypeError:
            return f"{who} takes {signature}, but is called with {what}"
    return ""


def _signature(called: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(called)
    except (ValueError, TypeError):  # a built-in without a signature
        return None


def check_params(found: Any, params: Mapping[str, Any], who: str, argument: str, called_with: str) -> None:
    """Raises `ConfigError` if the function or class cannot be called with these params.

    A function gets an `argument` before them; `called_with` says so in a text.
    """
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
            raise ConfigError(f"{who}: {name!r} is {argument}, not a param", ("params", name))
        if name not in named and not takes_any:
            close = difflib.get_close_matches(name, named, 1)
            others = [other for other in named if other != first]
            hint = f"did you mean {close[0]!r}?" if close else f"it takes {listed(others) or 'none'}"
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
            called = f"called with {called_with}" if given else "made with params only"
            raise ConfigError(f"{who} takes {signature}, but is {called}", ("function",)) from None
        words = listed(map(repr, missing))
        if given and not params and missing:
            raise ConfigError(
                f"{who} takes {signature}, but is called with {called_with}; give {words} in params",
                ("function",),
            ) from None
        raise ConfigError(f"{who} needs {words} in params", ("params",)) from None
