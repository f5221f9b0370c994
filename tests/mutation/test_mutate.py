"""The tables of mistakes fit the code, and the script tells what a test notices from what none does."""

import ast
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
MUTATE: dict[str, Any] = runpy.run_path(str(HERE / "mutate.py"))
ROOT: Path = MUTATE["ROOT"]
MUTATIONS: list[Any] = MUTATE["read_tables"](HERE)
FOLDERS = ("runtime", "core", "sources", "sinks", "net", "files", "sqlite", "postgresql", "ledger", "reload")


FITTING = [mutation for mutation in MUTATIONS if MUTATE["misfit"](mutation, ROOT) is None]
"""A change of the code may leave some behind: `make mutate` names them, and no other test fails for it."""


def test_what_a_mistake_makes_of_the_code_is_another_program() -> None:
    for mutation in FITTING:
        wrong = MUTATE["mutated"](mutation, ROOT)
        assert wrong != (ROOT / mutation.file).read_text(), mutation.name
        if mutation.file.endswith(".py"):
            ast.parse(wrong)


def test_each_mistake_has_a_name_of_its_own_and_tests_that_exist() -> None:
    names = [mutation.name for mutation in MUTATIONS]
    assert len(set(names)) == len(names)
    for test in {test for mutation in FITTING for test in (*mutation.first, *mutation.wider)}:
        assert (ROOT / test.partition("::")[0]).exists(), test


def test_there_are_enough_of_them_in_every_part() -> None:
    assert len(FITTING) >= 150
    for folder in FOLDERS:
        assert sum(mutation.file.startswith(f"streamd/{folder}/") for mutation in FITTING) >= 5, folder


TABLE = """
["streamd/adding.py"]
[["streamd/adding.py".mistake]]
note = "it subtracts"
old = "a + b"
new = "a - b"
[["streamd/adding.py".mistake]]
note = "never ends"
old = "return a"
new = 'while True: a'
first = ["tests/test_hang.py"]
[["streamd/adding.py".mistake]]
note = "a name that nobody asks for"
old = "NAME = 1"
new = "NAME = 2"
[["streamd/adding.py".mistake]]
note = "a comment"
old = "# adds"
new = "# sums"
equivalent = "nothing reads a comment"
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of one file, its test, a table and the script."""
    files = {
        "streamd/__init__.py": "",
        "streamd/adding.py": "NAME = 1\ndef add(a, b):\n    # adds\n    return a + b\n",
        "tests/test_adding.py": """
            from streamd.adding import add
            def test_add():
                assert add(1, 2) == 3
        """,
        "tests/test_hang.py": """
            import streamd.adding
            def test_hang():
                streamd.adding.add(1, 2)
        """,
        "tests/mutation/some.toml": TABLE,
        "tests/mutation/mutate.py": (HERE / "mutate.py").read_text(),
        ".gitignore": "build/\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text) if name.startswith("tests/test") else text)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def mutate(tree: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "tests/mutation/mutate.py", "--jobs=2", *arguments]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False, timeout=100)
    return done.returncode, done.stdout + done.stderr


def test_the_script_says_the_fate_of_each_mistake_and_leaves_the_tree_as_it_was(tree: Path) -> None:
    before = (tree / "streamd/adding.py").read_text()
    code, said = mutate(tree, "--only", "adding.py: [!n]")
    lines = [line.split("  ", 2)[2] for line in said.splitlines() if "/3 " in line]
    fates = {line.split("adding.py: ")[1].partition("  [")[0]: line.partition("  ")[0] for line in lines}
    assert fates == {
        "it subtracts": "noticed", "a comment": "equivalent", "a name that nobody asks for": "NOT NOTICED",
    }, said  # fmt: skip
    assert "1 of 3 mistakes noticed: 33.3% (1 equivalent, 1 not noticed)" in said
    assert code == 1
    assert (tree / "streamd/adding.py").read_text() == before
    code, said = mutate(tree, "--resume", "--only", "subtracts")
    assert (code, said) == (0, "1 of 1 mistakes noticed: 100.0% (0 equivalent, 0 not noticed)\n")


def test_tests_that_do_not_end_notice_a_mistake(tree: Path) -> None:
    code, said = mutate(tree, "--only", "never", "--each-s=2")
    assert code == 0
    assert "noticed      streamd/adding.py: never ends  [a hang: no end after 2 s]" in said


def test_a_mistake_that_no_longer_fits_the_code_is_named_and_the_others_are_tried(tree: Path) -> None:
    (tree / "streamd/adding.py").write_text("NAME = 1\ndef add(a, b):\n    # adds\n    return b + a\n")
    code, said = mutate(tree, "--only", "adding.py: [!n]")
    assert code == 1
    stale = "stale        streamd/adding.py: it subtracts: its old text is in the file 0 times, not once"
    assert stale in said.splitlines()
    assert "0 of 2 mistakes noticed" in said


def test_tests_that_fail_without_a_mistake_notice_nothing(tree: Path) -> None:
    (tree / "tests/test_adding.py").write_text("def test_broken():\n    assert False\n")
    code, said = mutate(tree, "--only", "subtracts")
    assert code == 2
    assert "tests/test_adding.py::test_broken" in said
    assert "fails without any mistake" in said


def test_what_is_not_tried_in_time_is_told_and_no_success(tree: Path) -> None:
    code, said = mutate(tree, "--seconds=-1")
    assert code == 1
    assert "4 not tried: time is over; go on with --resume" in said


def test_a_test_whose_time_is_over_is_named(tree: Path) -> None:
    """The end that pytest-timeout makes of it is imitated: no test waits for so long here."""
    (tree / "tests/test_adding.py").write_text(
        textwrap.dedent("""
            import os
            from streamd.adding import add
            def test_add(capfd):
                if add(1, 2) != 3:
                    with capfd.disabled():
                        print("tests/test_adding.py::test_add takes too long", flush=True)
                    os._exit(1)
        """)
    )
    code, said = mutate(tree, "--only", "subtracts")
    assert code == 0
    assert "it subtracts  [tests/test_adding.py::test_add - no end after 40 s]" in said
