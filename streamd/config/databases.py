"""The databases of a configuration, as the schemas of a query."""

from pathlib import Path

from streamd.config.loading import Loaded

_OWN_NAMES = ("main", "temp", "dead")
"""Schemas that a sink of the same name does not get."""


def databases(loaded: Loaded) -> dict[str, Path]:
    """The path of each SQLite sink by its name. It may be dated."""
    return {
        name: loaded.state_dir / str(getattr(sink, "path"))  # noqa: B009 - only this type of sink has the key
        for name, sink in loaded.config.sinks.items()
        if sink.type == "sqlite"
    }


def schemas(loaded: Loaded, first: str | None = None) -> dict[str, Path]:
    """Files by schema, without repetition.

    `main` is the file of the sink `first`, else of the first SQLite sink. Other schemas have their
    sink's name; `ledger` is the ledger, and `dead` the dead letters.
    """
    places = sorted(databases(loaded).items(), key=lambda item: item[0] != first)
    found: dict[str, Path] = {}
    for name, path in (*places, ("ledger", loaded.state_dir / loaded.config.ledger.path)):
        if path not in found.values():
            reserved = name.lower() in _OWN_NAMES
            found["main" if not found else f"{name}_" if reserved else name] = path
    return found | {"dead": loaded.state_dir / loaded.config.dead_letters.path}
