from typing import Any

import pytest

from streamd.core.settings import (
    Address,
    BatchSettings,
    BufferSettings,
    SourceSettings,
    parse_address,
    parse_duration_s,
    parse_size_bytes,
)
from streamd.core.stream_settings import StreamSettings


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7us", 7e-6), ("200ms", 0.2), ("5s", 5.0), ("2m", 120.0), ("2min", 120.0), ("3h", 10_800.0),
        ("2d", 172_800.0), ("1w", 604_800.0), ("1.5 s", 1.5), ("0s", 0.0),
    ],
)  # fmt: skip
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("1B", 1), ("2kB", 2000), ("2KB", 2000), ("3MB", 3_000_000), ("1GB", 10**9), ("1TB", 10**12),
        ("2KiB", 2048), ("64MiB", 64 * 2**20), ("1GiB", 2**30), ("1TiB", 2**40), ("1.5KiB", 1536), ("0B", 0),
    ],
)  # fmt: skip
def test_a_size_is_bytes(text: str, size_bytes: int) -> None:
    assert parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize(
    "value", ["5", 5, 5.0, "", "s", "-5s", "5 lightyears", "5S", "1e3s", True, None, "\u0665s", "5ss", ["5s"]]
)
def test_what_has_no_unit_of_time_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="a duration is a number with a unit"):
        parse_duration_s(value)


@pytest.mark.parametrize("value", ["64", 64, "64mib", "64 M", "MiB", "-1B", "5s", True])
def test_what_has_no_unit_of_size_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="a size is a number with a unit"):
        parse_size_bytes(value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9999", ("127.0.0.1", 9999)), ("[::1]:514", ("::1", 514)), ("[::]:0", ("::", 0)),
        ("localhost:65535", ("localhost", 65535)), ("10.0.0.1:1", ("10.0.0.1", 1)),
    ],
)  # fmt: skip
def test_an_address_is_a_host_and_a_port_and_is_written_as_it_was_read(
    text: str, address: tuple[str, int]
) -> None:
    assert parse_address(text) == Address(*address)
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "value",
    [
        "127.0.0.1", ":9999", "localhost:", "localhost:65536", "localhost:99999", "::1:514",
        "2001:db8::1:514",
        "localhost:-1", "localhost:9 9", "localhost:\u0669", "localhost:000080", 9999, None, "[]:1", "",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="an address is host:port"):
        parse_address(value)


def test_the_policy_of_a_full_buffer_is_the_configurations_or_the_sources_own() -> None:
    class Datagrams(SourceSettings):
        @property
        def default_when_full(self) -> Any:
            return "drop_oldest"

    for cls, default in ((SourceSettings, "block"), (Datagrams, "drop_oldest")):
        assert cls.model_validate({"type": "x"}).when_full == default
        said = {"type": "x", "buffer": {"when_full": "drop_newest"}}
        assert cls.model_validate(said).when_full == "drop_newest"


def test_streams_are_always_cut_and_others_are_not() -> None:
    assert SourceSettings.model_validate({"type": "x"}).cut_by is None
    cut = StreamSettings.model_validate({"type": "x", "max_frame": "2KiB", "oversize": "drop"}).cut_by
    assert cut is not None
    assert (cut.framing.type, cut.max_frame, cut.oversize) == ("newline", 2048, "drop")


@pytest.mark.parametrize("cls", [BufferSettings, BatchSettings])
def test_a_bound_of_no_record_is_refused(cls: Any) -> None:
    with pytest.raises(ValueError, match="max_records"):
        cls.model_validate({"max_records": 0})
    assert cls.model_validate({"max_records": 1}).max_records == 1
