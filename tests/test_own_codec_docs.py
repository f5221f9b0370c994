"""The codec of docs/how-to/own-codec.md does what the page says."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from streamd import registry
from streamd.cli import main

FENCED = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/how-to/own-codec.md").read_text(encoding="utf-8")
BLOCKS = [
    re.sub(r"(?m)^ {4}", "", block)
    for block in re.findall(r"(?:^(?: {4}.*)?\n)*^ {4}.*\n", FENCED.sub("", PAGE), re.MULTILINE)
]


def block(beginning: str) -> str:
    """The indented block of the page that begins with this text."""
    (found,) = [text for text in BLOCKS if text.lstrip("\n").startswith(beginning)]
    return found.lstrip("\n")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the package and its configuration, as pip would install them."""
    (code,) = FENCED.findall(PAGE)
    project = tomllib.loads(block("[build-system]"))
    (module,) = project["tool"]["setuptools"]["py-modules"]
    (tmp_path / f"{module}.py").write_text(code)
    info = tmp_path / f"{module}-{project['project']['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['project']['name']}\nVersion: 1\n")
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in named.items())
        for group, named in project["project"]["entry-points"].items()
    )
    (info / "entry_points.txt").write_text(points)
    (tmp_path / "keyvalue.toml").write_text(block("[schemas.reading]"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(registry, "load", registry.load.__wrapped__)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tried(folder: Path, sample: bytes) -> str:
    """What `streamd try` prints in a process that finds the package in `folder`."""
    done = subprocess.run(
        [sys.executable, "-m", "streamd", "try", "--config", "keyvalue.toml"],
        input=sample,
        stdout=subprocess.PIPE,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{folder}:{ROOT}"},
        check=False,
    )
    return done.stdout.decode()


def test_the_page_shows_what_try_prints(installed: Path) -> None:
    command, _, shown = block("$ printf").partition("\n\n")
    (sample,) = re.findall("printf '(.*)'", command)
    assert tried(installed, sample.replace("\\n", "\n").encode()).strip() == shown.strip()


def test_a_frame_that_the_codec_refuses_has_its_reason(installed: Path) -> None:
    wanted = {
        b"sensor=\xff value=1": "keyvalue:utf8",
        b"=1": "keyvalue:syntax",
        b"@source=lab sensor=s-1 value=1": "keyvalue:reserved",
        b" ": "empty",
        b"sensor=s-1 value=x": "schema:type",
        b"sensor=s-1": "schema:required",
    }
    printed = tried(installed, b"\n".join(wanted))
    assert re.findall(r"rejected  codec: ([\w:]+?)(?::? |$)", printed, re.MULTILINE) == [*wanted.values()]


@pytest.mark.usefixtures("installed")
def test_the_configuration_of_the_page_is_good(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--offline", "--config", "keyvalue.toml"]) == 0
    assert main(["schema", "codec.keyvalue"]) == 0
    assert "separator" in capsys.readouterr().out


def test_the_groups_of_the_page_are_those_of_the_registry() -> None:
    assert {f"streamd.{kind}" for kind in registry.KINDS} <= set(re.findall(r"streamd\.\w+", PAGE))
