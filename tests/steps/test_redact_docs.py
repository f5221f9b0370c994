"""docs/how-to/redact.md does what it says."""

import contextlib
import io
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamd.core.contracts import Step
from streamd.core.now import Now

PAGE = (Path(__file__).parents[2] / "docs/how-to/redact.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```\n\n```json\n(.*?)```\n\n```json\n(.*?)```", PAGE, re.DOTALL)
KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0\n"


@pytest.fixture
def key(tmp_path: Path) -> None:
    path = tmp_path / "redact.key"
    path.write_text(KEY)
    path.chmod(0o600)


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(("config", "before", "after"), EXAMPLES)
def test_the_example_makes_what_the_page_shows(
    new_step: Callable[..., Step[Any]], now: Now, config: str, before: str, after: str
) -> None:
    (options,) = tomllib.loads(config)["steps"]
    step = new_step(options.pop("type"), **options)
    step.open()
    done = step.process([json.loads(line) for line in before.splitlines()], now)
    assert done.records == [json.loads(line) for line in after.splitlines()]


@pytest.mark.usefixtures("key")
def test_a_value_is_hashed_as_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_step: Callable[..., Step[Any]], now: Now
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(code, {})  # noqa: S102 - of the page
    step = new_step("redact", key="redact.key", rules=[{"fields": ["user"], "action": "hash"}])
    assert step.process([{"user": "ann"}], now).records == [{"user": shown.getvalue().strip()}]


def test_the_page_has_an_example_of_each_action_and_detector() -> None:
    assert len(EXAMPLES) == 2
    for word in ("mask", "hash", "truncate", "drop", "email", "ip", "card", "phone", "iban"):
        assert any(f'"{word}"' in config for config, _, _ in EXAMPLES), word
