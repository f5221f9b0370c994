import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.redaction.actions import keyed_hash
from streamd.redaction.detectors import DETECTORS, find
from streamd.redaction.iban import LENGTHS, find_ibans

CHARS = 100_000
PIECES = [
    "a", "1", "1 ", "4 ", "4444 ", "4111 1111 1111 1112 ", "a@", "@", "a.", '"a@', "a=+@x.", "1.1.1.",
    "1.1.1.1.", "1.1.1.1/", "version 1.2.3.4 ", ":", "1:", "1:a", "::1 ", "fe80::1%", "+1", "+", "+49 ",
    "0171 ", "00", "(0", "0171 3920012 DE89370400440532013000 ", "phone", "phone 1 ", "DE89", "DE89 ", "%40",
    "a%40b.c", "-", "1-", "\u0660",
]  # fmt: skip
ENDS = ["", "@", "@example.com", " ::", '"@example.com', "x@" + "a." * 30_000, "x@" + "png." * 20_000, "é"]


@pytest.mark.parametrize("kind", DETECTORS)
def test_hostile_texts_take_linear_time(kind: str) -> None:
    """Quadratic work for 100,000 characters would take minutes."""
    detect = DETECTORS[kind]  # type: ignore[index]
    for piece in PIECES:
        for end in ENDS if piece == "a" else [""]:
            text = piece * (CHARS // len(piece)) + end
            begin = time.process_time()
            detect(text)
            assert time.process_time() - begin < 20, text[:20]


ALPHABET = st.sampled_from("0149+-./: @()%[]abfxDE\u00a0é中\u0664")
LIKE = st.sampled_from(
    ["ann@example.com", "192.0.2.1", "2001:db8::1", "4111 1111 1111 1111", "+49 171 3920012", "0171 ",
     "DE89370400440532013000", "tel:", "%40", "version "]
)  # fmt: skip


@given(st.lists(ALPHABET | LIKE, max_size=25).map("".join) | st.text(max_size=40))
def test_places_are_in_order_apart_and_inside_of_the_text(text: str) -> None:
    behind = 0
    for start, end in find(text, DETECTORS.values()):
        assert behind <= start < end <= len(text)
        behind = end
    for detect in DETECTORS.values():
        assert all(0 <= start < end <= len(text) for start, end in detect(text))


@given(st.binary(min_size=16, max_size=20), st.text(max_size=20), st.integers(32, 64))
def test_a_hash_is_never_found_and_made_once(key: bytes, text: str, length: int) -> None:
    hashed = keyed_hash(key, length)
    made = hashed(text)
    assert len(made) == length
    assert hashed(made) == made
    for before in ("", "tel ", "IBAN "):
        assert find(before + made, DETECTORS.values()) == []
    assert keyed_hash(key + b"x", length)(made) != made


@pytest.mark.parametrize(
    "border", ["{}", "({})", "中{}文", "“{}”", "x {}, y", "\n{}\n", "{}…", "«{}»", "\ud800{}"]
)
@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("ip", "192.0.2.1"), ("ip", "2001:db8::1"), ("card", "4111 1111 1111 1111"),
        ("phone", "+49 171 3920012"), ("iban", "DE89 3704 0044 0532 0130 00"),
    ],
)  # fmt: skip
def test_borders_are_those_of_any_script(border: str, kind: str, data: str) -> None:
    text = border.format(data)
    assert [text[a:b] for a, b in DETECTORS[kind](text)] == [data]  # type: ignore[index]


def test_every_length_of_an_iban_can_be_found() -> None:
    for country, length in LENGTHS.items():
        body = "1" * (length - 4)
        digits = "".join(str(int(c, 36)) for c in f"{body}{country}00")
        iban = f"{country}{98 - int(digits) % 97:02d}{body}"
        assert find_ibans(f"to {iban} and {iban}1") == [(3, 3 + length)]
