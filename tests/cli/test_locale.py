"""The characters of the terminal are those of the locale, although Python prefers UTF-8."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamd.charts.screen import plain
from streamd.cli._locale import encoding_of


@pytest.mark.parametrize(
    ("variables", "encoding"),
    [
        ("", "ascii"),
        ("LC_ALL= LC_CTYPE= LANG=", "ascii"),
        ("LANG=C", "ascii"),
        ("LC_ALL=POSIX LANG=C.UTF-8", "ascii"),
        ("LC_CTYPE=C LANG=C.UTF-8", "ascii"),
        ("LC_ALL=C LC_CTYPE=C.UTF-8 LANG=C.UTF-8", "ascii"),
        ("LC_ALL=C.UTF-8 LANG=C", "pythons"),
        ("LC_ALL= LC_CTYPE= LANG=C.UTF-8", "pythons"),
        ("LC_CTYPE=C.UTF-8 LANG=C", "pythons"),
        ("LANG=de_DE", "pythons"),
        ("LC_MESSAGES=C LANG=C.UTF-8", "pythons"),
    ],
)
def test_the_first_variable_that_is_not_empty_decides(variables: str, encoding: str) -> None:
    environ = dict(pair.split("=") for pair in variables.split())
    assert encoding_of(environ, "pythons", is_unusable=False) == encoding


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("C", "ascii"),
        ("de_DE.UTF-8", "utf-8"),
        ("de_DE.utf8@euro", "utf-8"),
        ("en_US.ISO-8859-1", "iso8859-1"),
        ("de_DE", "ascii"),
        ("de_DE.nonsense", "ascii"),
    ],
)
def test_of_a_locale_that_the_host_does_not_have_the_name_decides(name: str, encoding: str) -> None:
    assert encoding_of({"LANG": name}, "utf-8", is_unusable=True) == encoding


@pytest.mark.parametrize(
    ("variables", "is_ascii"),
    [
        ({"LC_ALL": "C"}, True),
        ({}, True),
        ({"LC_ALL": "C.UTF-8"}, False),
        ({"LC_ALL": "C", "PYTHONUTF8": "1"}, False),
        ({"LC_ALL": "C", "PYTHONIOENCODING": "utf-8"}, False),
    ],
)
def test_a_command_asks_the_locale(variables: dict[str, str], is_ascii: bool) -> None:
    code = (
        "import sys; from streamd.cli import _standard_streams as streams; streams.take(daemon=False);"
        "print(sys.stdout.encoding, sys.stderr.encoding)"
    )
    environ = {"PATH": os.environ["PATH"], **variables}
    root = Path(__file__).parents[2]
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environ, cwd=root, stdout=subprocess.PIPE, check=True
    ).stdout.split()
    assert shown == [b"ascii" if is_ascii else b"utf-8"] * 2


def test_a_stream_writes_signs_as_ascii_and_escapes_other_characters() -> None:
    code = (
        "from streamd.cli import _standard_streams as streams; from streamd.core.printable import printable;"
        "streams.take(daemon=False); print(printable('5 \\u00b5s' * 9, 4), '\\u6570 \\u2264 \\udcff')"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE, check=True,
    ).stdout  # fmt: skip
    assert shown == b"5 us... [32 more] \\u6570 <= \\udcff\n"


def test_signs_of_sentences_have_letters_in_their_place() -> None:
    for encoding, expected in (
        ("ascii", "5 us - x2 ..."),
        ("latin-1", "5 µs · ×2 ..."),
        ("utf-8", "5 µs · ×2 …"),
    ):
        with Path(os.devnull).open("w", encoding=encoding) as out:
            assert plain(out, "5 µs · ×2 …") == expected
