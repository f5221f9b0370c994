import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamd.core.failure import failure_of
from streamd.core.traceback_lines import MAX_LINE_CHARS, MAX_LINES, traceback_lines


@pytest.fixture
def raised(tmp_path: Path) -> Callable[[str], BaseException]:
    """The exception that this body of a function raises, in a file `steps.py`."""

    def run(body: str) -> BaseException:
        file = tmp_path / "steps.py"
        file.write_text("def step():\n" + textwrap.indent(textwrap.dedent(body), "    "))
        scope: dict[str, Any] = {}
        exec(compile(file.read_text(), str(file), "exec"), scope)  # noqa: S102 - a test's own code
        try:
            scope["step"]()
        except BaseException as error:  # noqa: BLE001 - SystemExit too
            error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
            return error
        raise AssertionError("it raised nothing")

    return run


def test_a_short_traceback_is_the_one_python_prints(raised: Callable[[str], BaseException]) -> None:
    error = raised("""
        try:
            {}["x"]
        except KeyError as missing:
            raise ValueError("no x") from missing
    """)
    assert traceback_lines(error) == "".join(traceback.format_exception(error)).splitlines()


def test_of_many_frames_the_first_and_the_innermost_are_kept_and_the_number_left_out_is_said(
    raised: Callable[[str], BaseException],
) -> None:
    chain = "\n".join(f"def f{n}(): f{n + 1}()" for n in range(100))
    lines = traceback_lines(raised(f"{chain}\ndef f100(): raise ValueError('deep')\nf0()"))
    shown = "\n".join(lines)
    assert len(lines) <= MAX_LINES
    assert "in step" in shown
    assert all(f"in f{n}\n" in shown for n in range(91, 101))
    assert "  … [90 more frames]" in lines
    assert lines[-1] == "ValueError: deep"


def test_endless_recursion_and_a_chain_of_causes_are_bounded(raised: Callable[[str], BaseException]) -> None:
    body = """
        def again(n):
            return again(n + 1)
        error = None
        for _ in range(30):
            try:
                again(0)
            except RecursionError as found:
                try:
                    raise LookupError("once more") from (error or found)
                except LookupError as next_one:
                    error = next_one
        raise error
    """
    lines = traceback_lines(raised(body))
    assert len(lines) == MAX_LINES + 1
    assert lines[-1] == "LookupError: once more"
    assert sum("lines]" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("body", "last"),
    [
        ("class Odd(Exception):\n    def __str__(self): return 1 / 0\nraise Odd",
         "step.<locals>.Odd: <exception str() failed>"),
        ("raise ValueError('x' * 10_000_000)", "ValueError: xxx"),
        ("raise ValueError('a\\nb' * 1000)", "… [989 more lines]"),
        ("raise ValueError('\\x1b[31m\\ud800')", "ValueError: \\x1b[31m\\ud800"),
        ("eval('1 +')", "SyntaxError: invalid syntax"),
    ],
)  # fmt: skip
def test_whatever_text_an_exception_has_the_lines_are_printable_and_bounded(
    raised: Callable[[str], BaseException], body: str, last: str
) -> None:
    lines = traceback_lines(raised(body))
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith(last)
    assert all(line.isprintable() and len(line) < MAX_LINE_CHARS + 30 for line in lines)
    assert len(lines) < MAX_LINES


def test_a_group_shows_each_of_its_exceptions(raised: Callable[[str], BaseException]) -> None:
    lines = traceback_lines(raised("raise ExceptionGroup('both', [ValueError('one'), KeyError('two')])"))
    assert any("ExceptionGroup: both" in line for line in lines)
    assert any("ValueError: one" in line for line in lines)
    assert any("KeyError: 'two'" in line for line in lines)


@pytest.mark.parametrize(
    ("body", "text", "line"),
    [
        ("raise ValueError('odd')", "ValueError: odd (steps.py:2)", 2),
        ("import json\n\njson.loads('{')", "JSONDecodeError: Expecting property name", 4),
        ("def inner():\n    1 / 0\ninner()", "ZeroDivisionError: division by zero (steps.py:3)", 3),
        ("raise SystemExit(3)", "SystemExit: 3 (steps.py:2)", 2),
        ("try:\n    1 / 0\nexcept Exception as e:\n    raise LookupError('x') from e",
         "LookupError: x (steps.py:5)", 5),
        ("raise ValueError('x' * 9000)", "ValueError: xxx", 2),
        ("try:\n    1 / 0\nexcept Exception as e:\n    raise ExceptionGroup('all', [e])",
         "ExceptionGroup: all (1 sub-exception): ZeroDivisionError: division by zero (steps.py:3)",
         5),
    ],
)  # fmt: skip
def test_a_failure_is_named_with_the_users_own_file_and_line(
    raised: Callable[[str], BaseException], tmp_path: Path, body: str, text: str, line: int
) -> None:
    failure = failure_of(raised(body), tmp_path)
    assert failure.text.startswith(text)
    assert failure.text.endswith(f"(steps.py:{line})")
    assert len(failure.text) < 1000


def test_failures_of_one_type_at_two_lines_are_two_kinds(raised: Callable[[str], BaseException]) -> None:
    bodies = ["raise ValueError(1)", "raise ValueError(2)", "\nraise ValueError(1)", "raise KeyError(1)"]
    same, again, other_line, other_type = (failure_of(raised(body)).kind for body in bodies)
    assert same == again
    assert len({same, other_line, other_type}) == 3
