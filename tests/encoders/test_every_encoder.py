"""What holds for every encoder, whatever the record."""

from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from streamd import registry
from streamd.core.contracts import AnyEncoder, RecordOrigin
from streamd.core.errors import BadData, ConfigError
from streamd.encoding.separated import Separated
from tests import declared

ORIGIN = RecordOrigin(1_706_688_000.25, "10.0.0.1:514", "lab")
TEXTS = [
    "", "x", "a b", 'a"b', "a\nb", "\r\n", "\0", "\x1b", "数据", "=", ",", "\\", "[]", "\ufeff", "\ud800",
    "x" * 300,
]  # fmt: skip
NUMBERS = [0, -1, 2**63, 2**70, 1.5, -0.0, 1e-7, 1e300, float("nan"), float("inf")]
OTHERS = [None, True, False, b"", b"\0\xff", datetime(2026, 1, 31, tzinfo=UTC), object()]


def value(random: Random, depth: int = 0) -> Any:
    """A value of any kind, odd ones too."""
    pool: list[Any] = random.choice([TEXTS, NUMBERS, OTHERS, ["nested"] if depth < 3 else TEXTS])
    found = random.choice(pool)
    if found != "nested":
        return found
    if random.random() < 0.5:
        return [value(random, depth + 1) for _ in range(random.randrange(3))]
    return {random.choice(TEXTS): value(random, depth + 1) for _ in range(random.randrange(3))}


OWN_KEYS = {
    name: declared.declared("encoders", name, "KEYS", ["message"]) for name in registry.names("encoders")
}
"""Fields that have a meaning for an encoder; its own test gives them as `KEYS`."""


def made(name: str, options: dict[str, Any]) -> AnyEncoder:
    cls = registry.load("encoders", name)
    encoder: AnyEncoder = cls(cls.Config(**options))
    return encoder


ENCODERS = [
    (name, options)
    for name in registry.names("encoders")
    for options in declared.options_of("encoders", name)
]


def records_for(name: str) -> Iterator[list[dict[str, Any]]]:
    """Records with odd names and values, and with the fields that the encoder knows."""
    random = Random(name)  # noqa: S311 - the same records in each run
    keys = [*TEXTS, *OWN_KEYS[name] * 8]
    for _ in range(300):
        yield [
            {random.choice(keys): value(random) for _ in range(random.randrange(6))}
            for _ in range(random.randrange(4))
        ]


@pytest.mark.parametrize(("name", "options"), ENCODERS, ids=str)
def test_each_record_becomes_one_message_or_one_reject_and_stays_as_it_is(
    name: str, options: dict[str, Any]
) -> None:
    encoder = made(name, options)
    good = 0
    for records in records_for(name):
        before = repr(records)
        done = encoder.encode(records, lambda _: ORIGIN)
        assert repr(records) == before
        assert len(done.messages) + len(done.rejects) == len(records)
        assert list(done.rejects) == sorted(done.rejects)
        assert set(done.rejects) <= set(range(len(records)))
        assert not [bad for bad in done.rejects.values() if bad.reason in ("exception", "bad_result")]
        together = iter(done.messages)
        for record in records:  # the message of a record does not depend on its neighbours
            try:
                alone = encoder.encode_one(record, ORIGIN)
            except BadData:
                continue
            good += 1
            assert alone
            assert next(together) == alone
            assert alone.startswith(encoder.begins)
            assert encoder.line_feeds != "never" or b"\n" not in alone
        assert next(together, None) is None
    assert good > 50


@pytest.mark.parametrize(("name", "options"), ENCODERS, ids=str)
def test_no_message_has_the_line_end_that_separates_it(name: str, options: dict[str, Any]) -> None:
    encoder = made(name, options)
    record = dict.fromkeys(OWN_KEYS[name], "x")
    (message,) = encoder.encode([record], lambda _: ORIGIN).messages or [b""]
    assert not message.endswith((b"\n", b"\r"))
    assert encoder.line_end in (b"", b"\n", b"\r\n")
    assert (encoder.line_end == b"") == (encoder.separation == "none")
    Separated(encoder, None, add_metadata=True)


@pytest.mark.parametrize(("name", "options"), ENCODERS, ids=str)
def test_added_fields_are_in_the_message_if_others_are(name: str, options: dict[str, Any]) -> None:
    encoder = made(name, options)
    encoder.expect(("_source",))
    record = dict.fromkeys(OWN_KEYS[name], "x")
    without = encoder.encode([record], lambda _: ORIGIN).messages
    with_it = encoder.encode([record | {"_source": "lab"}], lambda _: ORIGIN).messages
    assert len(without) == len(with_it)


def test_an_encoder_that_fails_rejects_only_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = made("csv", {"columns": ["n"]})
    results = {1: b"1", 2: ValueError("odd"), 3: b"", 4: "text", 5: BadData("x:y"), 6: b"6"}

    def encode_one(record: dict[str, Any], _origin: RecordOrigin) -> Any:
        result = results[record["n"]]
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(encoder, "encode_one", encode_one)
    done = encoder.encode([{"n": n} for n in results], lambda _: ORIGIN)
    assert done.messages == [b"1", b"6"]
    assert {index: bad.reason for index, bad in done.rejects.items()} == {
        1: "exception", 2: "bad_result", 3: "bad_result", 4: "x:y",
    }  # fmt: skip


def test_an_unknown_encoder_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="did you mean 'json'"):
        registry.load("encoders", "jsn")
