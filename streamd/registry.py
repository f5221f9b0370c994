"""(kind, type) → class: `streamd.<kind>.<type>` first, then entry points of other packages."""

import difflib
import importlib
import importlib.util
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from streamd.core.errors import ConfigError

KINDS = ("sources", "framing", "codecs", "steps", "sinks")
"""The kinds of component, in the order a record meets them."""


def names(kind: str) -> list[str]:
    """Every type of `kind` that can be named in a configuration."""
    package = importlib.import_module(f"streamd.{kind}")
    own = [m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")]
    return sorted({*own, *(point.name for point in entry_points(group=f"streamd.{kind}"))})


@cache
def load(kind: str, type_name: str) -> Any:
    """The component class. Raises `ConfigError` with a suggestion where there is none of that name."""
    own = type_name.isidentifier() and not type_name.startswith("_")
    if own and importlib.util.find_spec(f"streamd.{kind}.{type_name}"):
        module = importlib.import_module(f"streamd.{kind}.{type_name}")
        wanted = type_name.replace("_", "")
        for name, found in vars(module).items():
            if name.lower() == wanted and getattr(found, "__module__", "") == module.__name__:
                return found
        raise ConfigError(f"{module.__name__} defines no class {wanted}")
    for point in entry_points(group=f"streamd.{kind}", name=type_name):
        return point.load()
    known = names(kind)
    close = difflib.get_close_matches(type_name, known, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
    raise ConfigError(f"there is no {type_name!r} among the {kind}: {hint}")
