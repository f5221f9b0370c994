"""The page about tests shows what its example prints."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "test.md").read_text(encoding="utf-8")


def timeless(text: str) -> str:
    return re.sub(r"\(\d+ ms|\(\d+\.\d\d s", "(", text)


def test_the_example_of_the_page_prints_what_it_shows(tmp_path: Path) -> None:
    example = next(text for text in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL) if "[[tests]]" in text)
    shown = re.findall(r"    \$ streamd test lab\.toml\n((?:    .+\n)+)", PAGE)
    assert len(shown) == 2

    for text, config, code in zip(shown, (example, example.replace('"10s"', '"15s"')), (0, 1), strict=True):
        (tmp_path / "lab.toml").write_text(config)
        done = subprocess.run(
            [sys.executable, "-m", "streamd", "test", "lab.toml"],
            cwd=tmp_path, capture_output=True, check=False, text=True, timeout=60,
        )  # fmt: skip
        assert timeless(done.stdout) == timeless(re.sub(r"(?m)^ {4}", "", text))
        assert done.returncode == code
