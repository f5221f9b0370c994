"""The Python files that a configuration names, for the checks of who may change them."""

from pathlib import Path

from streamd import config
from streamd.host.step_files import python_files

CONFIG = """
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = { type = "python", function = "decoders.py:decode" }
[sources.floor]
type = "udp"
listen = "127.0.0.1:0"
codec = { type = "regex", pattern = "(?P<a>.*)" }
[pipelines.main]
sources = ["lab", "floor"]
steps = [{ type = "python", function = "steps:calibrate" }]
sinks = ["out"]
[sinks.out]
type = "stdout"
"""


def test_the_files_of_codecs_and_steps_are_named_with_their_places(tmp_path: Path) -> None:
    (tmp_path / "streamd.toml").write_text(CONFIG)
    (tmp_path / "decoders.py").touch()
    (tmp_path / "steps.py").touch()
    assert list(python_files(config.load(tmp_path / "streamd.toml"))) == [
        ("sources.lab.codec", tmp_path / "decoders.py"),
        ("pipelines.main.steps[0]", tmp_path / "steps.py"),
    ]
