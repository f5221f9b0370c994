import os
import re
import resource
from pathlib import Path

import numpy as np
import pytest

from streamd.models.onnx import ModelFault, ModelPort, OnnxModel, read_file
from tests.models.trained import BENCH, HERE

ABOVE_3 = (HERE / "above_3.onnx").read_bytes()


def test_a_model_has_a_digest_inputs_and_outputs_and_runs() -> None:
    model = OnnxModel(ABOVE_3)
    assert re.fullmatch("[0-9a-f]{12}", model.digest)
    assert model.digest != OnnxModel((HERE / "above_5.onnx").read_bytes()).digest
    assert model.inputs == [ModelPort("X", "tensor(float)", (None, 1))]
    assert [(port.name, port.type) for port in model.outputs] == [
        ("label", "tensor(int64)"),
        ("probabilities", "tensor(float)"),
    ]
    (labels,) = model.run(["label"], {"X": np.array([[2.5], [3.5]], np.float32)})
    assert labels.tolist() == [0, 1]


@pytest.mark.parametrize("content", [b"", b"no model", ABOVE_3[:200], ABOVE_3[:-1], ABOVE_3[10:]])
def test_bytes_that_are_no_model(content: bytes) -> None:
    with pytest.raises(ModelFault, match=r"onnxruntime cannot load the model: [A-Z]") as fault:
        OnnxModel(content)
    assert fault.value.reason == "unusable"
    assert "ONNXRuntimeError" not in str(fault.value)
    assert "\n" not in str(fault.value)


def test_tensors_that_do_not_suit_are_a_fault_and_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    model = OnnxModel(ABOVE_3)
    for tensor in (np.zeros((2, 3), np.float32), np.zeros((2, 1)), np.array([["a"]], object)):
        with pytest.raises(ModelFault) as fault:
            model.run(["label"], {"X": tensor})
        assert fault.value.reason == "run"
    assert capfd.readouterr() == ("", "")


def test_a_model_uses_no_thread_besides_that_of_the_caller() -> None:
    before = {path.name for path in Path("/proc/self/task").iterdir()}
    model = OnnxModel((BENCH / "boosting.onnx").read_bytes())
    model.run(["label"], {"X": np.zeros((512, 4), np.float32)})
    assert {path.name for path in Path("/proc/self/task").iterdir()} <= before


def test_memory_stays_flat_over_many_calls_with_batches_of_many_sizes() -> None:
    model = OnnxModel((BENCH / "mlp.onnx").read_bytes())
    tensors = [{"X": np.ones((size, 4), np.float32)} for size in range(1, 200)]

    def run(calls: int) -> None:
        for call in range(calls):
            model.run(["label", "probabilities"], tensors[call % len(tensors)])

    run(2_000)
    before = _resident_bytes()
    run(20_000)
    assert _resident_bytes() - before < 2 * 2**20


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(ABOVE_3)
    assert read_file(path, len(ABOVE_3)) == ABOVE_3


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 11)
    (tmp_path / "file").write_bytes(b"")
    cases = [
        (tmp_path / "pipe", "unreadable", "not a file, but a device, a pipe or a socket"),
        (Path("/dev/zero"), "unreadable", "not a file, but a device, a pipe or a socket"),
        (tmp_path, "unreadable", "Is a directory"),
        (tmp_path / "none", "missing", "No such file or directory"),
        (tmp_path / "file" / "none", "missing", "Not a directory"),
        (tmp_path / "large", "size", r"larger than max_size \(10 bytes\)"),
    ]
    for path, reason, words in cases:
        with pytest.raises(ModelFault, match=words) as fault:
            read_file(path, 10)
        assert (fault.value.reason, str(fault.value).startswith(str(path))) == (reason, True)
