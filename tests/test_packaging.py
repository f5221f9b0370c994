"""The distribution's name, and that no text advises to install another project's."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXTS = sorted(
    path
    for place in ("README.md", "CHANGELOG.md", "docs", "config", "streamd", "systemd", "Makefile")
    for path in ([ROOT / place] if (ROOT / place).is_file() else (ROOT / place).rglob("*"))
    if path.suffix in (".md", ".py", ".toml", ".json", ".yml", ".service", "") and path.is_file()
)
FOREIGN = re.compile(r"\binstall\b[^\n]*[\s'\"]streamd(\[|==|>=|'|\"|\s*$)")


def test_the_distribution_has_a_name_of_its_own() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "streamd-daemon"
    assert project["scripts"] == {"streamd": "streamd.__main__:main"}


@pytest.mark.parametrize("package", ["streamd", "'streamd[frames]'", "streamd==1"])
def test_such_advice_is_found(package: str) -> None:
    assert FOREIGN.search(f"pip install {package}")


def test_no_text_advises_to_install_a_stranger() -> None:
    assert len(TEXTS) > 100
    found = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in TEXTS
        for line in path.read_text(errors="replace").splitlines()
        if "pip install" in line and FOREIGN.search(line)
    ]
    assert found == []
