"""Reads `tests/data/CODEC/cases.toml`: frames, and the records or reasons that a codec makes of them.

Each `[[case]]` has a frame as `text` or `hex`, and `records` (a list of JSON texts), `rejects` (reasons) or
both. It may have `options` of the codec, and `schema`, the fields of a schema.
"""

import json
import string
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from streamd import registry
from streamd.core.contracts import AnyCodec
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.schema import Schema, SchemaField

NAMES = [a + b for a in string.ascii_lowercase for b in string.ascii_lowercase]
"""Many short names, for records that take much memory."""
WIDE_NAMES = [chr(code) for code in range(0x100, 0x700)]
"""Names of one character that is not in Latin-1, so that each takes 76 bytes."""
RECEIVED_AT = 1769846405.0
"""When each frame was received: 2026-01-31T08:00:05Z."""
NOW = Now(RECEIVED_AT + 1, 0.0)
_FOLDER = Path(__file__).parents[1] / "data"


def cases_of(codec: str) -> list[Any]:
    """The cases of a codec, each as a parameter that is named after its frame."""
    listed = tomllib.loads((_FOLDER / codec / "cases.toml").read_text())["case"]
    return [
        pytest.param(case, id=f"{n}-{case.get('text', case.get('hex'))!r:.40}")
        for n, case in enumerate(listed)
    ]


def schema_of(**fields: Any) -> Schema:
    return Schema("case", TypeAdapter(dict[str, SchemaField]).validate_python(fields))


def codec_of(name: str, schema: Schema | None = None, *, typed: bool = False, **options: Any) -> AnyCodec:
    """The codec, placed behind a source of datagrams."""
    cls = registry.load("codecs", name)
    codec: AnyCodec = cls(cls.Config(**options), schema)
    codec.load(Path(__file__).parent)
    codec.typed = typed
    codec.place_behind(streams=False, cut=False)
    return codec


def decoded(codec: AnyCodec, *payloads: bytes) -> tuple[list[Any], list[str]]:
    """The records as dicts, and the reasons of the rejects."""
    done = codec.decode(Frames.of(list(payloads), "10.0.0.1:1", RECEIVED_AT), NOW)
    records = done.records
    if done.typed and codec.schema is not None:
        records = [codec.schema.to_dict(record) for record in records]
    for bad in done.rejects:
        assert bad.payload in payloads[bad.index]
        assert bad.element or bad.payload == payloads[bad.index]
    return records, [bad.reason for bad in done.rejects]


def decoded_together(codec: AnyCodec, *payloads: bytes) -> None:
    """Fails if the codec decodes a frame of the batch alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "decode_each", pytest.fail)
        records, reasons = decoded(codec, *payloads)
    assert len(records) >= len(payloads)
    assert reasons == []


def check(name: str, case: dict[str, Any]) -> None:
    """The case alone and several times in one batch, as dicts and as structs."""
    frame = bytes.fromhex(case["hex"]) if "hex" in case else case["text"].encode()
    schema = schema_of(**case["schema"]) if "schema" in case else None
    records = [json.loads(text) for text in case.get("records", [])]
    rejects = case.get("rejects", [])
    for typed in (False, True):
        codec = codec_of(name, schema, typed=typed, **case.get("options", {}))
        assert decoded(codec, frame) == (records, rejects)
        assert decoded(codec, frame, frame, frame) == (records * 3, rejects * 3)
