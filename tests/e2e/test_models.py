"""The step `model` in a daemon: its file is replaced, spoilt and deleted while records arrive."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MODELS = Path(__file__).parents[1] / "models"
CONFIG = """
[admin]
listen = "none"
[ledger]
interval = "100ms"
[sources.in]
type = "tcp"
listen = "127.0.0.1:0"
framing = "newline"
[pipelines.main]
sources = ["in"]
sinks = ["records"]
[[pipelines.main.steps]]
type = "model"
file = "model.onnx"
inputs = ["n"]
outputs = {{ high = "label" }}
version_field = "model"
shadow = "shadow.onnx"
check_every = "50ms"
{more}
[sinks.records]
type = "sqlite"
path = "streamd.db"
columns = {{ number = "int", n = "float", high = "int", model = "str" }}
"""


@pytest.mark.parametrize("more", ['executor = "inline"', 'executor = "thread"\nconcurrency = 3'])
def test_a_daemon_goes_on_with_the_best_model_that_it_has(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], more: str
) -> None:
    def put(name: str, content: bytes | None = None) -> None:
        path = tmp_path / "model.onnx"
        path.write_bytes((MODELS / name).read_bytes() if content is None else content)

    put("above_3.onnx")
    shutil.copy(MODELS / "above_5.onnx", tmp_path / "shadow.onnx")
    daemon = start(CONFIG.format(more=more))
    sent = 0

    def send(*values: float | None) -> None:
        nonlocal sent
        lines = [json.dumps({"number": sent + place, "n": n}).encode() for place, n in enumerate(values)]
        daemon.tcp(b"\n".join(lines) + b"\n", source="in")
        sent += len(values)
        daemon.wait_rows(sent)

    def send_until(condition: Callable[[], Any]) -> None:
        """The step looks at its file when records come."""

        def found() -> bool:
            send(4.0)
            return bool(condition())

        wait_until(found, "the event")

    send(1.0, 4.0, None, 6.0, *[4.0] * 500)
    put("above_5.onnx")
    send_until(lambda: daemon.events("model_loaded"))
    first = sent
    send(1.0, 4.0, 6.0)
    put("", b"half a model")
    send_until(lambda: daemon.events("model_not_loaded"))
    (tmp_path / "model.onnx").unlink()
    send_until(lambda: [e for e in daemon.events("model_not_loaded") if e["reason"] == "missing"])
    send(4.0, 6.0)
    status = json.loads(daemon.control("GET", "/status")[1])
    daemon.stop()

    rows = daemon.query("SELECT number, high, model FROM records ORDER BY rowid")
    assert [row[0] for row in rows] == list(range(sent))
    (loaded,) = daemon.events("model_loaded")
    assert [row[1:] for row in rows[:4]] == [
        (0, loaded["replaced"]), (1, loaded["replaced"]), (None, None), (1, loaded["replaced"])
    ]  # fmt: skip
    assert [row[1:] for row in rows[first : first + 3]] == [(0, loaded["model"])] * 2 + [(1, loaded["model"])]
    assert [row[1:] for row in rows[-2:]] == [(0, loaded["model"]), (1, loaded["model"])]
    assert [event["reason"] for event in daemon.events("model_not_loaded")] == ["unusable", "missing"]
    (counts,) = (step["notes"] for step in status["steps"])
    assert counts["not_scored"] == {"missing": 1}
    assert counts["shadow_agreed"] + counts["shadow_differed"] == sent - 1
    assert counts["loads"] == 2
