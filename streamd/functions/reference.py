"""Loads the function or class named by `file.py:name` or `package.module:name`; checks its signature."""

import contextlib
import copy
import difflib
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from streamd.core.code_owner import is_installed, is_streamd
from streamd.core.errors import ConfigError
from streamd.core.failure import text_of
from streamd.functions.files import Sources, collect, is_reserved, read
from streamd.functions.modules import Space, is_unchanged, new_space, space_of

_CALLED_WITH = "one argument: the record, or in batch mode their list"


class Named:
    """A function or class with its params. The constructor does not call it."""

    def __init__(self, reference: str, base_dir: Path, params: Mapping[str, Any]) -> None:
        """Import the module and check the signature. Raises `ConfigError` with `keys` below the step."""
        place, _, name = reference.rpartition(":")
        self.sources: Sources = {}
        """The modules of the function that are files in the folder of the configuration."""
        self.root = base_dir
        self._name = ""
        self._space: Space | None = None
        self._params = copy.deepcopy(dict(params))
        module = self._module(place, base_dir)
        found = vars(module).get(name)
        if found is None:
            close = difflib.get_close_matches(name, vars(module), 1)
            hint = f": did you mean {close[0]!r}?" if close else ""
            raise ConfigError(
                f"there is no function or class {name!r} in {module.__file__}{hint}", ("function",)
            )
        self.is_class = inspect.isclass(found)
        self._found: Any = found
        where = _where(found, module)
        if fault := _fault(found):
            raise ConfigError(f"{where}: {name!r} {fault}", ("function",))
        _check_params(found, self._params, f"{where}: {name!r}")
        called = found.__call__ if self.is_class else found
        self.is_async = any(inspect.iscoroutinefunction(code) for code in (called, found.__call__))

    def make(self) -> Callable[[Any], Any]:
        """The callable for a record or a batch. Makes the object of a class, so it may raise anything."""
        if self.is_class:
            made: Callable[[Any], Any] = self._found(**self._params)
            return made
        return partial(self._found, **self._params) if self._params else self._found

    def has(self, name: str) -> bool:
        """Whether it is a class with the method `name`."""
        return self.is_class and callable(getattr(self._found, name, None))

    def check_clock_and_state(self) -> None:
        """Raises `ConfigError` if one of two methods that belong together is missing, or if one is async."""
        for name, other in (("tick", "next_deadline"), ("snapshot", "restore")):
            if self.has(name) != self.has(other):
                one, missing = (name, other) if self.has(name) else (other, name)
                raise ConfigError(f"{self._name_of_class}: {one} needs {missing}", ("function",))
            for method in (name, other):
                if self.has(method) and inspect.iscoroutinefunction(getattr(self._found, method)):
                    raise ConfigError(f"{self._name_of_class}: {method} must not be async", ("function",))

    @property
    def _name_of_class(self) -> str:
        return f"class {self._found.__name__}"

    @property
    def state_version(self) -> int:
        """The version of the snapshot format; 1 if the class sets none."""
        version = getattr(self._found, "state_version", 1)
        return version if type(version) is int else 1

    def is_current(self) -> bool:
        """Whether its files are unchanged. An installed package counts as unchanged."""
        if self._space is None:
            return True
        return self._space.extras_are_current() and is_unchanged(self.root, self._name, self.sources)

    def _module(self, place: str, base_dir: Path) -> ModuleType:
        path = base_dir / place
        try:
            # Standard output may carry the records of a sink or of `streamd try`.
            with contextlib.redirect_stdout(sys.stderr):
                if place.endswith(".py"):
                    path = path.resolve()
                    path.read_bytes()  # raises the reason if the file cannot be read
                    return self._load(path.parent, path.stem)
                top = place.partition(".")[0]
                root = base_dir.resolve()
                if not is_reserved(top) and space_of(root).has(top):
                    return self._load(root, place)
                return importlib.import_module(place)
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror or error}", ("function",)) from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            text = error.msg if isinstance(error, SyntaxError) else text_of(error)
            raise ConfigError(f"{_place(error)}{type(error).__name__}: {text}", ("function",)) from error

    def _load(self, root: Path, name: str) -> ModuleType:
        self.root, self._name = root, name
        space = space_of(root)
        source = space.sources.get(name) or read(root, name)
        if source is not None:
            sources = collect(root, name, source)
            if not space.add(sources):
                space = new_space(root)
                space.add(sources)
            self.sources = {inner: space.sources[inner] for inner in sources}
        self._space = space
        return space.load(name)


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


def _where(found: Any, module: ModuleType) -> str:
    code = getattr(found, "__code__", None)
    if code is not None:
        return f"{code.co_filename}:{code.co_firstlineno}"
    if inspect.isclass(found):
        try:
            return f"{inspect.getsourcefile(found) or module.__file__}:{inspect.findsource(found)[1] + 1}"
        except (OSError, TypeError):
            pass
    return str(module.__file__)


def _place(error: BaseException) -> str:
    """`file:line: ` of the user's code that raised the error; empty if it is unknown."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno or 1}: "
    users = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not is_streamd(frame.filename) and not is_installed(frame.filename)
    ]
    return f"{users[-1].filename}:{users[-1].lineno}: " if users else ""
