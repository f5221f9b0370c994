import pytest

from streamd.top.keys import Keys


def keys(*parts: bytes) -> list[str]:
    one = Keys()
    return [*(key for part in parts for key in one.of(part)), *one.rest()]


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"sq", ["s", "q"]), (b"\r\n", ["enter", "enter"]), (b"\x7f\x08", ["backspace", "backspace"]),
        (b"\x1b[A\x1b[B\x1b[C\x1b[D", ["up", "down", "right", "left"]), (b"\x1bOA", ["up"]),
        (b"\x1b[5~\x1b[6~", ["page up", "page down"]), (b"\x1b", ["escape"]), (b"\x1bx", ["escape", "x"]),
        (b"\x1b[1;5C", []), (b"\x1b[200~", []), ("é数".encode(), ["é", "数"]), (b"\xff\xfea", ["a"]),
        (b"\x1b[" + b"1" * 40 + b"Az", ["1"] * 26 + ["A", "z"]), (b"\x04", ["q"]),
    ],
)  # fmt: skip
def test_bytes_are_keys_however_they_arrive(data: bytes, names: list[str]) -> None:
    assert keys(data) == names
    assert keys(*(data[n : n + 1] for n in range(len(data)))) == names


def test_an_incomplete_sequence_at_the_end_is_no_key() -> None:
    assert keys(b"\x1b[") == []
