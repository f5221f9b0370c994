"""docs/reference/inputs.md holds what the code does: every row of its tables is run."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from streamd import registry
from streamd.codecs.json import Json
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.schema import Schema, SchemaField

TEXT = (Path(__file__).parent.parent / "docs/reference/inputs.md").read_text()
NOW = Now(0.0, 0.0)
STREAMS = (("tcp", {"listen": "127.0.0.1:0"}), ("unix", {"path": "s"}), ("file", {"path": "f"}))
DATAGRAMS = (("udp", {"listen": "127.0.0.1:0"}), ("unix", {"path": "s", "mode": "datagram"}))


def sent(frame: bytes) -> Frames:
    return Frames.of([frame], "127.0.0.1:5", 1e9)


def rows(title: str, table: int = 0) -> Iterator[list[str]]:
    """The cells of a section's table, without its head."""
    section = TEXT.split(f"# {title}\n")[1].split("\n##")[0]
    lines = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)[table].splitlines()[2:]
    assert lines
    for line in lines:
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def spans(cell: str) -> list[str]:
    return re.findall(r"`([^`]*)`", cell)


def field_of(kind: str, value: str) -> Any:
    """What a field of the type holds after `{"v": value}`, or the reason of the reject."""
    schema = Schema("s", TypeAdapter(dict[str, SchemaField]).validate_python({"v": kind}))
    decoded = Json(Json.Config(), schema).decode(sent(b'{"v":%b}' % value.encode()), NOW)
    return decoded.rejects[0].reason if decoded.rejects else decoded.records[0]["v"]


@pytest.mark.parametrize("table", [0, 1])
def test_times(table: int) -> None:
    for written, becomes in rows("Times", table):
        (wanted,) = spans(becomes)
        for value in spans(written):
            if value not in ("timezone", "unit"):
                assert field_of("timestamp", value) == wanted, value


def test_numbers() -> None:
    for written, *columns in rows("Numbers"):
        for kind, wanted in zip(("int", "float"), columns, strict=True):
            for value in spans(written):
                found = field_of(kind, value)
                if wanted == "a number":
                    assert found == float(value)
                elif ":" in wanted:
                    assert [found] == spans(wanted), value
                else:
                    number = json.loads(spans(wanted)[0])
                    assert (found, type(found), str(found)) == (number, type(number), str(number)), value


def test_frames() -> None:
    for written, *columns in rows("Frames and codecs"):
        frame = spans(written)[0].encode().decode("unicode_escape").encode("latin-1")
        for name, wanted in zip(("json", "text", "auto"), columns, strict=True):
            codec = registry.load("codecs", name)
            decoded = codec(codec.Config(), None).decode(sent(frame), NOW)
            found = decoded.records or [reject.reason for reject in decoded.rejects]
            assert found == [json.loads(part) if part[0] == "{" else part for part in spans(wanted)], (
                frame,
                name,
            )


def test_csv() -> None:
    cls = registry.load("codecs", "csv")
    for written, *columns in rows("CSV", 1):
        frame = spans(written)[0].encode().decode("unicode_escape").encode("latin-1")
        for types, wanted in zip(("text", "auto"), columns, strict=True):
            codec = cls(cls.Config(columns=["a", "b"], types=types), None)
            decoded = codec.decode(sent(frame), NOW)
            found = decoded.records or [reject.reason for reject in decoded.rejects]
            assert found == [json.loads(part) if part[0] == "{" else part for part in spans(wanted)], written


def test_line_protocol() -> None:
    cls = registry.load("codecs", "influx")
    for written, wanted in rows("Line protocol"):
        line = spans(written)[0].encode() + b" 1769846400000000000"
        decoded = cls(cls.Config(), None).decode(sent(line), NOW)
        found = decoded.records or [reject.reason for reject in decoded.rejects]
        (part,) = spans(wanted)
        time = {"timestamp": "2026-01-31T08:00:00.000000Z"}
        assert found == [json.loads(part) | time if part[0] == "{" else part], written


def test_framings() -> None:
    first, *others = rows("Framings and sources")
    assert first[0] == "none named"
    assert {spans(cells[0])[0] for cells in others} == set(registry.names("framing"))
    for cells in others:
        for name, options in (*STREAMS, *DATAGRAMS):
            config = registry.load("sources", name).Config
            made = config.model_validate({"type": name, "framing": spans(cells[0])[0], **options})
            assert made.cut_by.framing.type == spans(cells[0])[0]
    for name, options in STREAMS:
        made = registry.load("sources", name).Config.model_validate({"type": name, **options})
        assert made.cut_by.framing.type == "newline"
    for name, options in DATAGRAMS:
        made = registry.load("sources", name).Config.model_validate({"type": name, **options})
        assert made.cut_by is None


def test_the_pages_that_describe_inputs_lead_here() -> None:
    docs = Path(__file__).parent.parent / "docs"
    assert "](inputs.md" in (docs / "reference" / "configuration.md").read_text()
    for page in ("files.md", "dead-letters.md", "python-step.md", "try.md"):
        assert "](../reference/inputs.md" in (docs / "how-to" / page).read_text(), page
