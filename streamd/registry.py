"""Finds component classes by kind and type: in `streamd.<kind>.<type>`, then in entry points of packages."""

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from streamd.core.contracts import Codec, Encoder, Framer, Sink, Source, Step
from streamd.core.errors import ConfigError, describe

_CONTRACTS: dict[str, tuple[str, type]] = {
    "sources": ("source", Source),
    "framing": ("framing", Framer),
    "codecs": ("codec", Codec),
    "steps": ("step", Step),
    "encoders": ("encoder", Encoder),
    "sinks": ("sink", Sink),
}
KINDS = tuple(_CONTRACTS)
"""The kinds of component, in the order in which a record passes them."""


def names(kind: str) -> list[str]:
    """Every type of `kind` that a configuration can name."""
    package = importlib.import_module(f"streamd.{kind}")
    own = [m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")]
    return sorted({*own, *_names_of_packages(kind, tuple(sys.path))})


@cache
def _names_of_packages(kind: str, path: tuple[str, ...]) -> tuple[str, ...]:
    """The types that other packages bring. One search takes 15 ms."""
    del path  # only another path can have other packages
    return tuple(point.name for point in entry_points(group=f"streamd.{kind}"))


@cache
def load(kind: str, type_name: str) -> Any:
    """The component class. Raises `ConfigError` with a suggestion if no class has that name."""
    own = type_name.isidentifier() and not type_name.startswith("_")
    if own and importlib.util.find_spec(f"streamd.{kind}.{type_name}"):
        return _defined_in(importlib.import_module(f"streamd.{kind}.{type_name}"), kind, type_name)
    for point in entry_points(group=f"streamd.{kind}", name=type_name):
        return _of_package(point, kind)
    known = names(kind)
    close = difflib.get_close_matches(type_name, known, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
    raise ConfigError(f"there is no {type_name!r} among the {kind}: {hint}")


def _defined_in(module: ModuleType, kind: str, type_name: str) -> type:
    """The class with the module's name. A class that the module imports does not count."""
    word, contract = _CONTRACTS[kind]
    wanted = type_name.replace("_", "")
    for name, found in vars(module).items():
        if name.lower() == wanted and inspect.isclass(found) and found.__module__ == module.__name__:
            if issubclass(found, contract):
                return found
            break
    raise ConfigError(f"{module.__name__} defines no {word} {wanted}")


def _of_package(point: EntryPoint, kind: str) -> type:
    """The class of another package's entry point. Raises `ConfigError` if it cannot be loaded or used."""
    word, contract = _CONTRACTS[kind]
    package = f"the package {point.dist.name}" if point.dist else "a package"
    try:
        found = point.load()
    except Exception as error:
        raise ConfigError(
            f"{package} brings the {word} {point.name!r}, but {point.value} cannot be loaded:"
            f" {describe(error)}"
        ) from error
    if not inspect.isclass(found) or not issubclass(found, contract):
        raise ConfigError(
            f"{package} brings the {word} {point.name!r}, but {point.value} is no class derived from"
            f" streamd.core.contracts.{contract.__name__}"
        )
    return found
