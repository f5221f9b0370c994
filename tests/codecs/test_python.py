"""The codec python, and `functions/frame_function.py`."""

import re
from pathlib import Path
from typing import Any

import pytest

from streamd.core.errors import ConfigError
from streamd.core.frames import FlaggedFrame, Frames
from tests.codecs.cases import NOW, RECEIVED_AT, WIDE_NAMES, codec_of, decoded, schema_of

DECODERS = Path(__file__).with_name("decoders.py")
OPTIONS = [{"function": f"{DECODERS}:pairs"}]
PIECES = [b"sensor=s-1", b";", b"=", b"value=", b"21.5", b"@source=x", b"\xff", b"pair"]
DENSE: list[tuple[bytes, dict[str, Any]]] = [
    (b"a=;" * 2000, OPTIONS[0]),
    ("a= ".join(WIDE_NAMES).encode(), {"function": f"{DECODERS}:words"}),
]


def of(name: str, **params: Any) -> dict[str, Any]:
    return {"function": f"{DECODERS}:{name}", "params": params}


def test_a_function_makes_the_records_of_a_frame() -> None:
    codec = codec_of("python", **of("pairs"))
    assert decoded(codec, b"a=1;b=2", b"", b"c=3", b"d", b"\xff=1") == (
        [{"a": "1"}, {"b": "2"}, {"c": "3"}], ["python:rejected"] * 3,
    )  # fmt: skip
    assert codec.counts == {}


def test_it_gets_the_sender_and_the_time_if_it_asks_for_them_and_its_params() -> None:
    assert decoded(codec_of("python", **of("with_sender")), b"x") == (
        [{"text": "x", "peer": "10.0.0.1:1", "at": RECEIVED_AT, "site": "roof"}], [],
    )  # fmt: skip
    records, _ = decoded(codec_of("python", **of("with_sender", site="yard")), b"x")
    assert records[0]["site"] == "yard"
    assert type(records[0]["peer"]) is str


def test_it_gets_plain_bytes_and_its_values_become_plain_ones() -> None:
    codec = codec_of("python", **of("rich"))
    (record,) = codec.decode(Frames.of([FlaggedFrame(b"x", "truncated")], "p", 1.0), NOW).records
    assert record == {"at": "2026-01-31T08:00:00.000000Z", "parts": [1, {"b": b"x"}]}
    assert type(record["parts"][1]["b"]) is bytes


def test_a_dict_that_it_returns_twice_is_two_records() -> None:
    assert decoded(codec_of("python", **of("same_dict")), b"x", b"xy") == ([{"size": 1}, {"size": 2}], [])


@pytest.mark.parametrize(
    ("payload", "reason", "detail"),
    [
        (b"text", "python:bad_result", "the function returned str, not a dict"),
        (b"list", "python:bad_result", "the function returned int in a list"),
        (b"strange", "python:bad_result", "a: an object cannot be stored"),
        (b"refuse", "python:rejected", "not mine"),
        (b"fail", "python:exception", "KeyError: 'a' (decoders.py:"),
        (b"exit", "python:exception", "SystemExit: now (decoders.py:"),
    ],
)
def test_whatever_it_does_costs_its_own_frame_only(payload: bytes, reason: str, detail: str) -> None:
    codec = codec_of("python", **of("outcome"))
    done = codec.decode(Frames.of([b"x", payload, b"y"], "10.0.0.1:1", 1.0), NOW)
    assert (done.records, done.origins) == ([{"a": "x"}, {"a": "y"}], [0, 2])
    (bad,) = done.rejects
    assert (bad.index, bad.payload, bad.reason) == (1, payload, reason)
    assert bad.detail.startswith(detail)


def test_none_and_drop_are_no_record_and_no_reject() -> None:
    codec = codec_of("python", **of("outcome"))
    assert decoded(codec, b"none", b"drop") == ([], [])
    assert codec.counts == {"without_record": 2}


def test_a_key_of_the_daemon_is_rejected_with_the_frame() -> None:
    assert decoded(codec_of("python", **of("pairs")), b"@peer=1;a=1") == ([], ["python:reserved"])


def test_a_schema_checks_the_values() -> None:
    codec = codec_of("python", schema_of(size={"type": "int", "le": 2}), **of("same_dict"))
    assert decoded(codec, b"x", b"xyz") == ([{"size": 1}], ["schema:range"])


@pytest.mark.parametrize(
    ("name", "params", "words", "key"),
    [
        ("outcom", {}, "did you mean 'outcome'", "function"),
        ("waits", {}, "is async, but a codec cannot wait", "function"),
        ("yields", {}, "is a generator", "function"),
        ("Decoder", {}, "is a class: name a function", "function"),
        ("limit", {}, "is not a function but int", "function"),
        ("nothing", {}, "called with one argument: the bytes of the frame", "function"),
        ("pairs", {"payload": 1}, "'payload' is the bytes themselves, not a param", "params"),
        ("with_sender", {"sit": 1}, "has no param 'sit': did you mean 'site'", "params"),
        ("with_sender", {"peer": "x"}, "gets 'peer' with each frame", "params"),
    ],
)
def test_a_function_that_cannot_be_called_is_refused_at_its_option(
    name: str, params: dict[str, Any], words: str, key: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)) as error:
        codec_of("python", **of(name, **params))
    assert error.value.keys[0] == key


def test_a_changed_file_is_seen_and_the_next_codec_has_the_new_function(tmp_path: Path) -> None:
    file = tmp_path / "steps.py"
    file.write_text("def decode(payload):\n    return {'n': 1}\n")
    options: dict[str, Any] = {"function": f"{file}:decode"}
    first = codec_of("python", **options)
    assert first.is_current()
    file.write_text("def decode(payload):\n    return {'n': 2}\n")
    assert not first.is_current()
    assert decoded(codec_of("python", **options), b"") == ([{"n": 2}], [])
    assert decoded(first, b"") == ([{"n": 1}], [])
