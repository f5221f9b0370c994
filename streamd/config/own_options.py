"""Tells streamd's own options from those whose values only code of the user or of another package knows."""

import inspect
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from streamd.core.plural import counted

_OURS = __name__.partition(".")[0]


def is_own(model: type[BaseModel], name: str) -> bool:
    """Whether streamd defines the option `name` and what its value means."""
    return is_declared_here(model, name) and not takes_arguments(model, name)


def is_declared_here(model: type[BaseModel], name: str) -> bool:
    """Whether the option is one of streamd's, possibly inherited by a class of another package."""
    owner = next((base for base in model.__mro__ if name in inspect.get_annotations(base)), object)
    return owner.__module__.partition(".")[0] == _OURS


def takes_arguments(model: type[BaseModel], name: str) -> bool:
    """Whether the option is a table of arguments for the user's code, such as `params`."""
    return model.model_fields[name].annotation == dict[str, Any]


def choices(model: type[BaseModel], name: str) -> tuple[Any, ...]:
    """The values of a `Literal`, which are words of the code; empty for another type."""
    annotation = model.model_fields[name].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def described(value: Any) -> Any:
    """The part of a value of unknown meaning that is no secret: numbers, and the sizes of texts and tables.

    The keys of a table are not shown, because a table may map tokens to names.
    """
    if value is None or isinstance(value, bool | int | float) or value in ("", {}, []):
        return value
    if isinstance(value, dict):
        return f"(table of {counted(len(value), 'key')})"
    if isinstance(value, list | tuple):
        return [described(inner) for inner in value]
    return f"(text of {counted(len(str(value)), 'character')})"
