"""docs/how-to/redact-at-a-source.md does what it says."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs/how-to/redact-at-a-source.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_prints_what_the_page_shows(tmp_path: Path) -> None:
    (config,), (sample,), (console,) = map(blocks, ("toml", "json", "console"))
    (tmp_path / "streamd.toml").write_text(config)
    command, _, expected = console.partition("\n")
    words = command.removeprefix("$ streamd ").removesuffix(" < sample.ndjson").split()
    done = subprocess.run(
        [sys.executable, "-m", "streamd", *words],
        input=sample.encode(),
        capture_output=True,
        cwd=tmp_path,
        check=False,
        timeout=100,
    )
    assert (done.stdout.decode(), done.returncode) == (expected, 1), done.stderr.decode()
