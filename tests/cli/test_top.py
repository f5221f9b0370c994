"""The page itself: tests/top, and in a terminal beside a daemon: tests/e2e/test_top.py."""

from pathlib import Path

import pytest

from streamd.cli import main, top


@pytest.mark.parametrize("arguments", [["--once"], []])
def test_without_a_terminal_or_with_once_a_missing_daemon_is_an_error(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert top.__doc__
    assert main(["top", *arguments, "--socket", str(tmp_path / "control.sock")]) == 1
    assert capsys.readouterr().err.startswith(f"streamd: no daemon answers at {tmp_path}/control.sock")
