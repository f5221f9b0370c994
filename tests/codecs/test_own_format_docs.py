"""The examples of docs/how-to/own-format.md print what the page shows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/how-to/own-format.md").read_text()
FILES = dict(re.findall(r"`([a-z]+\.(?:toml|py))`:\n\n```(?:toml|python)\n(.*?)```", PAGE, re.DOTALL))
TRIED = re.findall(r"    \$ printf '(.*)' \| streamd try --config (\S+)\n\n((?: {4}.*\n)+)", PAGE)


@pytest.mark.parametrize(("sample", "config", "shown"), TRIED)
def test_try_prints_what_the_page_shows(sample: str, config: str, shown: str, tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "streamd", "try", "--config", config],
        input=sample.replace("\\n", "\n"),
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.stdout.strip() == re.sub(r"(?m)^ {4}", "", shown).strip()


def test_the_page_has_both_examples() -> None:
    assert set(FILES) == {"access.toml", "weather.py", "weather.toml"}
    assert [config for _, config, _ in TRIED] == ["access.toml", "weather.toml"]
