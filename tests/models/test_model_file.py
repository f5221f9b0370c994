import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from streamd.core.counters import Counters
from streamd.core.errors import ConfigError
from streamd.models.model_file import ModelFile
from streamd.models.onnx import ModelFault
from streamd.models.plan import Wanted
from tests.models.trained import BENCH, HERE, onnx_of, threshold

ABOVE_3, ABOVE_5 = (HERE / "above_3.onnx").read_bytes(), (HERE / "above_5.onnx").read_bytes()
DEADLINE_S = 20.0
FOUR = {"X": np.full((3, 1), 4.0, np.float32)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(ABOVE_3)
    os.utime(path, (0, 0))  # a change within the same tick of the kernel's clock would show the same time
    return path


def file_of(path: Path, *, most_bytes: int = 10_000, outputs: Any = None) -> ModelFile:
    wanted = Wanted(["n"], outputs or {"label": "label"})
    file = ModelFile(path, most_bytes, 5.0, wanted, Counters(), {"pipeline": "p", "step": "model[0]"})
    file.open()
    return file


def label_of_4(file: ModelFile) -> list[int]:
    assert file.loaded is not None
    (labels,) = file.loaded.run(FOUR, 3)
    found: list[int] = labels.tolist()
    return found


def replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


def look(file: ModelFile, times: int = 2) -> None:
    """As the thread does: once to see the change, once to find the file at rest."""
    for _ in range(times):
        file.check()


def numbers(file: ModelFile) -> dict[str, Any]:
    return file._counters.numbers()


@pytest.mark.parametrize("in_place", [True, False])
def test_a_changed_file_is_loaded_once_it_rests(path: Path, in_place: bool) -> None:
    file = file_of(path)
    file.sample = FOUR
    look(file, 3)
    assert numbers(file) == {"loads": 1}
    if in_place:
        path.write_bytes(ABOVE_5)
    else:
        replace(path, ABOVE_5)
    with capture_logs() as events:
        look(file, 1)
        assert label_of_4(file) == [1, 1, 1]
        look(file, 2)
    assert label_of_4(file) == [0, 0, 0]
    assert numbers(file) == {"loads": 2}
    (event,) = events
    assert event["event"] == "model_loaded"
    assert (event["pipeline"], event["step"], event["file"]) == ("p", "model[0]", str(path))
    assert len(event["model"]) == len(event["replaced"]) == 12
    assert event["model"] != event["replaced"]
    assert file._counters.gauge_values() == {"in_use": {event["model"]: 1.0}}


def test_a_file_that_is_being_written_is_not_read(path: Path) -> None:
    file = file_of(path)
    for size in range(0, len(ABOVE_5), 60):
        path.write_bytes(ABOVE_5[:size])
        file.check()
        assert label_of_4(file) == [1, 1, 1]
    path.write_bytes(ABOVE_5)
    look(file)
    assert label_of_4(file) == [0, 0, 0]
    assert numbers(file) == {"loads": 2}


def test_a_half_written_file_that_rests_is_refused_and_read_again_when_it_is_whole(path: Path) -> None:
    file = file_of(path)
    path.write_bytes(ABOVE_5[:200])
    with capture_logs() as events:
        look(file, 5)
    assert label_of_4(file) == [1, 1, 1]
    assert numbers(file) == {"loads": 1, "failed_loads": {"unusable": 1}}
    (event,) = events
    assert (event["event"], event["reason"], event["log_level"]) == (
        "model_not_loaded",
        "unusable",
        "warning",
    )
    assert event["error"].startswith(f"{path}: onnxruntime cannot load")
    path.write_bytes(ABOVE_5)
    look(file)
    assert label_of_4(file) == [0, 0, 0]


def test_a_missing_file_is_counted_at_each_look_and_logged_once(path: Path) -> None:
    file = file_of(path)
    path.unlink()
    with capture_logs() as events:
        look(file, 4)
    assert numbers(file) == {"loads": 1, "failed_loads": {"missing": 3}}
    assert [event["reason"] for event in events] == ["missing"]
    path.write_bytes(ABOVE_5)
    look(file)
    assert label_of_4(file) == [0, 0, 0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ((BENCH / "logistic.onnx").read_bytes(), "takes 4 values"),
        ((HERE / "text.onnx").read_bytes(), "have other types or shapes than before"),
        (onnx_of(threshold(5.0), np.zeros((1, 1))), "have other types or shapes than before"),
    ],
    ids=["width", "kind", "double"],
)
def test_a_model_with_other_inputs_or_outputs_is_refused(path: Path, content: bytes, words: str) -> None:
    file = file_of(path)
    replace(path, content)
    assert not file.is_refused
    with capture_logs() as events:
        look(file, 4)
    assert label_of_4(file) == [1, 1, 1]
    assert numbers(file)["failed_loads"] == {"signature": 1}
    assert words in events[0]["error"]
    assert file.is_refused
    replace(path, ABOVE_5)
    look(file)
    assert not file.is_refused
    assert label_of_4(file) == [0, 0, 0]


def test_a_model_that_does_not_run_the_last_records_is_refused(path: Path) -> None:
    file = file_of(path)
    file.sample = {"X": np.zeros((2, 5), np.float32)}  # as if the model before could run them
    replace(path, ABOVE_5)
    look(file)
    assert label_of_4(file) == [1, 1, 1]
    assert numbers(file)["failed_loads"] == {"sample": 1}
    file.sample = None
    replace(path, ABOVE_5 + b"")
    look(file)
    assert label_of_4(file) == [0, 0, 0]


def test_a_file_that_is_too_large_is_not_read(path: Path) -> None:
    file = file_of(path, most_bytes=400)
    path.write_bytes((HERE / "zipmap.onnx").read_bytes())
    look(file, 3)
    assert numbers(file)["failed_loads"] == {"size": 1}


def test_the_same_model_in_a_new_file_is_no_new_model(path: Path) -> None:
    file = file_of(path)
    before = file.loaded
    replace(path, ABOVE_3)
    with capture_logs() as events:
        look(file, 3)
    assert file.loaded is before
    assert (numbers(file), events) == ({"loads": 1}, [])


def test_it_looks_in_a_thread_after_a_while_and_sooner_after_a_change(path: Path) -> None:
    file = file_of(path)
    for now_s in (100.0, 104.9):
        file.look(now_s)
        assert file._checking is None
    path.write_bytes(ABOVE_5)
    now_s = 105.0
    for now_s in (105.0, 106.0):
        file.look(now_s)
        thread = file._checking
        assert thread is not None
        assert thread is not threading.current_thread()
        thread.join(DEADLINE_S)
    assert label_of_4(file) == [0, 0, 0]
    assert now_s < 110.0


def test_the_old_model_serves_while_the_new_one_is_loaded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = file_of(path)
    file.check()
    reading, go_on = threading.Event(), threading.Event()

    def slowly(path: Path, _: int) -> bytes:
        reading.set()
        assert go_on.wait(DEADLINE_S)
        return path.read_bytes()

    monkeypatch.setattr("streamd.models.model_file.read_file", slowly)
    replace(path, ABOVE_5)
    file.check()
    file.look(0.0)
    file.look(5.0)
    assert reading.wait(DEADLINE_S)
    assert label_of_4(file) == [1, 1, 1]
    file.look(50.0)  # no second thread
    go_on.set()
    ends_s = time.monotonic() + DEADLINE_S
    while label_of_4(file) != [0, 0, 0]:
        assert time.monotonic() < ends_s
        time.sleep(0.001)


def test_a_model_that_was_closed_meanwhile_stays_closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = file_of(path)
    replace(path, ABOVE_5)
    file.check()

    def close(path: Path, _: int) -> bytes:
        file.close()
        return path.read_bytes()

    monkeypatch.setattr("streamd.models.model_file.read_file", close)
    file.check()
    assert file.loaded is None
    assert numbers(file) == {"loads": 1}
    monkeypatch.undo()
    file.open()
    assert label_of_4(file) == [0, 0, 0]


def test_a_file_that_changes_while_it_is_read_is_read_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = file_of(path)
    replace(path, ABOVE_5)
    file.check()

    def changing(path: Path, _: int) -> bytes:
        found = path.read_bytes()
        path.write_bytes(ABOVE_5 + b"x")
        return found

    monkeypatch.setattr("streamd.models.model_file.read_file", changing)
    file.check()
    assert numbers(file)["failed_loads"] == {"changing": 1}
    assert label_of_4(file) == [1, 1, 1]
    monkeypatch.undo()
    path.write_bytes(ABOVE_5)
    look(file)
    assert label_of_4(file) == [0, 0, 0]


def test_what_cannot_be_opened_names_the_file_or_the_option(path: Path) -> None:
    path.write_bytes(b"no model")
    with pytest.raises(ModelFault, match=f"^{path}: onnxruntime cannot load"):
        file_of(path)
    path.write_bytes(ABOVE_3)
    with pytest.raises(ConfigError, match="no output 'x'"):
        file_of(path, outputs={"label": "x"})
