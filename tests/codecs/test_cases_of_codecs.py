"""The cases of each codec: `tests/data/CODEC/*.toml`, input and what becomes of it.

A case is a table `[[case]]` with these keys:

- `name`: what is special about it; unique in its file.
- `input`: the frame as text; or `hex`: its bytes as pairs of digits, with blanks between; or `base64`.
- `record`, or `records` where a frame holds several or none: what is expected, as tables or as JSON texts
  (JSON has null). No other key may be in a record. A float is equal to itself only, not to an int.
- `reason` where the frame is rejected; `reasons` for its elements, beside `records`.
- `counts`: counters of the codec and their values behind this frame. Without it they are not compared.
- `options`: options of the codec. `received_at`: when the frame was read; without it, 2024-01-31T08:00:00Z.
- `schema`: the fields of a schema, as in the configuration. The records are then those of the schema.

A file of this format begins with `format = "frames"`. Files without it have other readers, such as
tests/codecs/cases.py.

Each case is decoded alone, twice in one batch, and with a schema typed as well.
"""

import base64
import json
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from streamd.core.contracts import Decoded
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.schema import Schema, SchemaField

FOLDER = Path(__file__).parents[1] / "data"
FIELDS = TypeAdapter(dict[str, SchemaField])
KEYS = {
    "name", "input", "hex", "base64", "record", "records", "reason", "reasons", "counts", "options",
    "received_at", "schema",
}  # fmt: skip
READ_AT = datetime(2024, 1, 31, 8, tzinfo=UTC)


def cases() -> list[Any]:
    found = []
    for path in sorted(FOLDER.glob("*/*.toml")):
        table = tomllib.loads(path.read_text())
        if table.get("format") != "frames":
            continue
        names = [case["name"] for case in table["case"]]
        assert len(set(names)) == len(names), f"{path}: two cases have one name"
        codec = path.parent.name
        found += [
            pytest.param(codec, case, id=f"{codec}/{path.stem}: {case['name']}") for case in table["case"]
        ]
    return found


def frame_of(case: dict[str, Any]) -> bytes:
    (kind,) = {"input", "hex", "base64"} & case.keys()
    if kind == "input":
        return str(case["input"]).encode()
    return bytes.fromhex(case["hex"]) if kind == "hex" else base64.b64decode(case["base64"], validate=True)


def wanted(case: dict[str, Any]) -> list[Any]:
    records = case["records"] if "records" in case else [case["record"]] if "record" in case else []
    return [json.loads(record) if isinstance(record, str) else record for record in records]


def exactly(value: Any) -> Any:
    """The value with its types, so that 1, 1.0 and True differ."""
    if isinstance(value, dict):
        return {key: exactly(part) for key, part in value.items()}
    if isinstance(value, list):
        return [exactly(part) for part in value]
    return type(value).__name__, repr(value)


def records_of(schema: Schema | None, decoded: Decoded) -> list[Any]:
    if decoded.typed and schema is not None:
        return [schema.to_dict(record) for record in decoded.records]
    return decoded.records


@pytest.mark.parametrize(("name", "case"), cases())
def test_a_frame_becomes_what_its_case_says(name: str, case: dict[str, Any], new_codec: Any) -> None:
    assert case.keys() <= KEYS
    assert {"record", "records", "reason"} & case.keys()
    read_at = case.get("received_at", READ_AT).timestamp()
    now = Now(read_at, 1.0)
    frame = frame_of(case)
    schema = Schema("case", FIELDS.validate_python(case["schema"])) if "schema" in case else None
    reasons = [case["reason"]] if "reason" in case else case.get("reasons", [])

    def check(typed: bool, times: int) -> None:
        codec = new_codec(name, schema, typed=typed, **case.get("options", {}))
        done = codec.decode(Frames.of([frame] * times, "127.0.0.1:5", read_at), now)
        assert exactly(records_of(schema, done)) == exactly(wanted(case) * times)
        assert [reject.reason for reject in done.rejects] == reasons * times
        if "reason" in case:
            assert [reject.payload for reject in done.rejects] == [frame] * times
        if "counts" in case:
            assert codec.counts == {key: n * times for key, n in case["counts"].items()}

    check(typed=False, times=1)
    check(typed=False, times=2)
    if schema is not None:
        check(typed=True, times=2)
