"""What the tests of codecs share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from streamd import registry
from streamd.core.contracts import AnyCodec
from streamd.core.now import Now
from streamd.core.schema import Schema, SchemaField
from tests import declared

HERE = Path(__file__).parent
NewCodec = Callable[..., AnyCodec]


@pytest.fixture(scope="session")
def now() -> Now:
    return Now(1_706_688_000.0, 1.0)


@pytest.fixture(scope="session")
def schema() -> Schema:
    fields = {
        "ts": "timestamp",
        "sensor": "str",
        "seq": {"type": "int", "required": False},
        "value": {"type": "float", "ge": -50, "le": 150},
        "extra": {"type": "any", "required": False},
    }
    return Schema("reading", TypeAdapter(dict[str, SchemaField]).validate_python(fields))


@pytest.fixture(scope="session")
def new_codec() -> NewCodec:
    def make(name: str, schema: Schema | None = None, *, typed: bool = False, **options: Any) -> AnyCodec:
        cls = registry.load("codecs", name)
        options = options or declared.least(cls.Config) | declared.options_of("codecs", name)[0]
        codec: AnyCodec = cls(cls.Config(**options), schema)
        codec.load(HERE)
        codec.typed = typed
        return codec

    return make
