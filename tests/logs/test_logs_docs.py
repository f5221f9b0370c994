"""docs/reference/logs.md names every event of the code, and none that is gone."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from streamd.logs.journal import FIELDS, PRIORITIES
from streamd.logs.rate_limit import START_UP

ROOT = Path(__file__).parents[2]
LOGS = (ROOT / "docs/reference/logs.md").read_text()
METHODS = {level: level for level in PRIORITIES} | {"exception": "error"}


def _is_log(node: ast.expr) -> bool:
    """`log.info`, `self._log.info`, `structlog.get_logger(…).info`: what stands before the level."""
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) == "structlog.get_logger"
    return ast.unparse(node).split(".")[-1] in {"log", "_log", "logger", "_logger"}


def _logged(path: Path) -> Iterator[tuple[str, str]]:
    """Event and level of each call in a file; an event that is no plain text could not be documented."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        if node.func.attr in METHODS and _is_log(node.func.value):
            name = node.args[0]
            assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: an event is a fixed word"
            assert isinstance(name.value, str), f"{path}:{node.lineno}: an event is a fixed word"
            yield name.value, METHODS[node.func.attr]


def in_code() -> set[tuple[str, str]]:
    files = sorted((ROOT / "streamd").rglob("*.py"))
    return {found for path in files for found in _logged(path)} | {("log_lines_lost", "warning")}


def rows() -> list[list[str]]:
    table = LOGS.split("## Events")[1]
    return [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line[:3] == "| `"
    ]


def test_every_event_is_in_the_table_with_its_levels_and_none_that_is_gone() -> None:
    documented = {(name.strip("`"), level) for name, levels, *_ in rows() for level in levels.split(", ")}
    assert documented == in_code()


def test_the_table_is_sorted_whole_and_says_what_each_event_means() -> None:
    names = [row[0] for row in rows()]
    assert names == sorted(set(names))
    assert all(len(row) == 4 and row[2] for row in rows())
    assert [row[0] for row in rows() if row[1] != "info" and not row[3]] == ["`torn_line_cut`", "`udp_stop`"]


def test_what_is_never_held_back_is_listed_and_exists() -> None:
    paragraph = re.search(r"never held back.*?\n\n", LOGS, re.DOTALL)
    assert paragraph
    assert set(re.findall(r"`(\w+)`", paragraph[0])) == START_UP
    assert {event for event, _ in in_code()} >= START_UP


def test_fields_and_priorities_of_the_journal_are_listed() -> None:
    for name in FIELDS.values():
        assert f"`{name}`" in LOGS
    assert ", ".join(f"{n} {level}" for level, n in reversed(PRIORITIES.items())) in LOGS
