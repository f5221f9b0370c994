"""What the test of a component tells the suites that hold every component to its contract.

`tests/sinks/test_tcp.py`, for example, may hold these names:

- `OPTIONS`: a list of tables of options; the suites run the component with each. Needed where an option is
  required whose value they cannot guess.
- `REFUSALS`: what keeps `open` from succeeding. A dict of functions by words of the message: each brings its
  trouble about in the folder where relative paths start. `{}` says that nothing can.
- `peer` (of a sink): an async context manager that is given the folder, reads what the sink sends, and
  yields the options that lead there.
- `place` and `send` (of a source that neither listens nor follows a file): functions that return
  the options that lead to a place to read, one for each folder, and that send frames to a source made with
  them.
- `PIECES` (of a codec): bytes of its format, good and bad, of which frames are put together.
- `KEYS` (of an encoder): the fields that have a meaning for it, if `message` alone is not enough.
- `silent` (of a codec): a function that says whether a frame holds only what the codec skips, like comments.
"""

import importlib
from pathlib import Path
from typing import Any

from streamd import registry
from streamd.core.settings import Address, Settings

ROOT = Path(__file__).parent.parent


def declared(kind: str, name: str, word: str, otherwise: Any) -> Any:
    """`word` in the test of the component; `otherwise` if it has none, or there is no such test."""
    module = f"tests.{kind}.test_{name}"
    if not ROOT.joinpath(*module.split(".")).with_suffix(".py").exists():
        return otherwise
    return getattr(importlib.import_module(module), word, otherwise)


def options_of(kind: str, name: str) -> list[dict[str, Any]]:
    """The tables of options with which the component is tested. Fails with what to write where one lacks."""
    tables: list[dict[str, Any]] = declared(kind, name, "OPTIONS", [{}])
    config = registry.load(kind, name).Config
    for table in tables:
        lacking = sorted(required(config) - {*table, *least(config)})
        assert not lacking, (
            f"{kind}/{name}.py requires {', '.join(lacking)}: give an example in "
            f"tests/{kind}/test_{name}.py, like OPTIONS = [{{{lacking[0]!r}: ...}}]"
        )
    return tables


def required(config: type[Settings]) -> set[str]:
    """The options that a component requires."""
    fields = config.model_fields.items()
    return {field.alias or key for key, field in fields if key != "type" and field.is_required()}


def least(config: type[Settings]) -> dict[str, Any]:
    """A value for each option that a component requires, where any text or any address will do."""
    texts: dict[Any, str] = {Address: "127.0.0.1:0"}
    needed = required(config)
    return {
        name: texts.get(field.annotation, name)
        for key, field in config.model_fields.items()
        if (name := field.alias or key) in needed and field.annotation in (str, Address)
    }
