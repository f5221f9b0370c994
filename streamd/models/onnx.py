"""A model of the format ONNX, loaded by onnxruntime."""

import hashlib
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime

from streamd.core.errors import EnvironmentFault

Array = np.ndarray[Any, Any]
Tensors = dict[str, Array]
"""The inputs of a model by name. The first dimension is that of the records."""
FaultReason = Literal["missing", "unreadable", "size", "changing", "unusable", "signature", "sample", "run"]

_DIGITS = 12
_NO_LOG = 4
_MOST_CHARACTERS = 300
_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")

onnxruntime.disable_telemetry_events()


class ModelFault(EnvironmentFault):
    """The model cannot be loaded or run; `reason` is from a closed set."""

    def __init__(self, reason: FaultReason, text: str) -> None:
        super().__init__(text)
        self.reason: FaultReason = reason


@dataclass(frozen=True, slots=True)
class ModelPort:
    """An input or output of a model."""

    name: str
    type: str
    """As onnxruntime writes it: `tensor(float)`, `seq(map(int64,tensor(float)))`."""
    shape: tuple[int | str | None, ...]
    """The dimensions; one that is no number may have any size."""


class OnnxModel:
    """A loaded model. It runs on the processor in the calling thread; several threads may run it at once."""

    def __init__(self, content: bytes) -> None:
        """Raises `ModelFault`. Takes 1 to 3 ms for a small model."""
        self.digest = hashlib.sha256(content).hexdigest()[:_DIGITS]
        """The first 12 hexadecimal digits of the file's SHA-256."""
        try:
            session = new_session(content)
        except Exception as error:  # noqa: BLE001 - the errors of onnxruntime have no common base
            raise ModelFault("unusable", f"onnxruntime cannot load the model: {_text(error)}") from None
        self.inputs = [ModelPort(port.name, port.type, tuple(port.shape)) for port in session.get_inputs()]
        self.outputs = [ModelPort(port.name, port.type, tuple(port.shape)) for port in session.get_outputs()]
        self._session = session

    def run(self, outputs: Sequence[str], tensors: Tensors) -> list[Array]:
        """The values of these outputs. Raises `ModelFault` (`run`)."""
        try:
            results: list[Array] = self._session.run(outputs, tensors)
        except Exception as error:  # noqa: BLE001 - the same
            raise ModelFault("run", _text(error)) from None
        return results


def new_session(content: bytes) -> Any:
    """A session of onnxruntime that runs in the calling thread and keeps no memory between calls."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for pool in ("intra_op", "inter_op"):  # otherwise idle threads of a pool use whole cores
        options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
    options.enable_mem_pattern = False  # it keeps a plan of the memory for each size of a batch
    options.enable_cpu_mem_arena = False  # it keeps the memory of the largest batch
    options.log_severity_level = _NO_LOG  # the caller reports errors
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    session.disable_fallback()
    return session


def read_file(path: Path, most_bytes: int) -> bytes:
    """The content of the file of a model. Raises `ModelFault`."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise ModelFault("unreadable", f"{path}: not a file, but a device, a pipe or a socket")
        if stat.S_ISREG(found.st_mode) and found.st_size > most_bytes:
            raise ModelFault("size", f"{path}: larger than max_size ({most_bytes:,} bytes)")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelFault("missing", f"{path}: {error.strerror}") from None
    except OSError as error:
        raise ModelFault("unreadable", f"{path}: {error.strerror}") from None


def _text(error: Exception) -> str:
    """What onnxruntime says, on one line."""
    text = " ".join(_CODE.sub("", str(error)).split())
    return text[:_MOST_CHARACTERS] or type(error).__name__
