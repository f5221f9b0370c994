"""A model that a thread loads again when its file changes."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import structlog

from streamd.core.counters import Counters
from streamd.core.errors import ConfigError
from streamd.models.onnx import Array, FaultReason, ModelFault, OnnxModel, Tensors, read_file
from streamd.models.plan import ModelPlan, Wanted

log = structlog.get_logger()

_Signature = tuple[int, int, int] | None
_REST_S = 1.0
"""A changed file is loaded if it has not changed again for so long."""
_SAMPLE = 64
"""Most records with which a new model is tried."""
_LASTING: tuple[FaultReason, ...] = ("unusable", "signature", "sample", "size")
"""Faults that stay until the file changes again."""


class LoadedModel:
    """A model and the way of its values."""

    def __init__(self, model: OnnxModel, plan: ModelPlan) -> None:
        self.model = model
        self.plan = plan
        self._names = list(dict.fromkeys(one.name for one in plan.outputs))
        self._outputs = [(one, self._names.index(one.name)) for one in plan.outputs]

    @classmethod
    def of(cls, content: bytes, wanted: Wanted) -> "LoadedModel":
        """Raises `ModelFault`, or `ConfigError` if the options do not suit the model."""
        model = OnnxModel(content)
        return cls(model, wanted.plan(model))

    def run(self, tensors: Tensors, count: int) -> list[Array]:
        """The values of each field of the plan. Raises `ModelFault` (`run`)."""
        made = self.model.run(self._names, tensors)
        return [one.select(made[place], count) for one, place in self._outputs]


class ModelFile:
    """The model of a file.

    A file that has changed is loaded in a thread after it has rested. The old model stays in use until the
    new one has the same plan and has run a sample, and for ever if the new file is of no use.
    """

    counters: ClassVar[Mapping[str, str]] = {
        "loads": "times that a model was loaded",
        "failed_loads": "times that a changed file was not used, by reason; the model before it stays in use",
    }

    def __init__(
        self,
        path: Path,
        most_bytes: int,
        check_every_s: float,
        wanted: Wanted,
        counters: Counters,
        labels: Mapping[str, str],
        prefix: str = "",
    ) -> None:
        """`prefix` is put before the names of the counters; `labels` are fields of each event."""
        self.path = path
        self.loaded: LoadedModel | None = None
        """The model in use; None before `open`."""
        self.sample: Tensors | None = None
        """The last tensors that the model has run."""
        self._most_bytes = most_bytes
        self._check_every_s = check_every_s
        self._wanted = wanted
        self._counters = counters
        self._prefix = prefix
        self._log = log.bind(**labels, file=str(path))
        self._looked_s: float | None = None
        self._read: _Signature = None
        """What the file was when it was loaded, or was found to be of no use."""
        self._seen: _Signature = None
        """What the file was at the last look."""
        self._is_changing = False
        self._told: tuple[_Signature, str] | None = None
        self._checking: threading.Thread | None = None
        self.is_refused = False
        """Whether the file has a model with another plan, which only a new step can use."""

    def open(self) -> LoadedModel:
        """Load the model unless it is loaded. Raises `ModelFault`, or `ConfigError` for options."""
        loaded = self.loaded
        if loaded is None:
            self._read = self._seen = _stat(self.path)
            content = read_file(self.path, self._most_bytes)
            try:
                loaded = self.loaded = LoadedModel.of(content, self._wanted)
            except ModelFault as fault:
                raise self._at_path(fault) from None
            self._count("loads")
            self._show(loaded)
        return loaded

    def close(self) -> None:
        """Forget the model. The result of a loading that is under way is not used."""
        self.loaded, self.sample, self._looked_s, self._checking = None, None, None, None

    def look(self, now_s: float) -> None:
        """Look in a thread for a change of the file, if it is time (monotonic seconds)."""
        if self._looked_s is None:
            self._looked_s = now_s
        wait_s = min(_REST_S, self._check_every_s) if self._is_changing else self._check_every_s
        if now_s < self._looked_s + wait_s or (self._checking is not None and self._checking.is_alive()):
            return
        self._looked_s = now_s
        self._checking = threading.Thread(target=self.check, name="model", daemon=True)
        self._checking.start()

    def check(self) -> None:
        """Load the model again if its file has changed and now rests. Called in a thread."""
        old, signature = self.loaded, _stat(self.path)
        rests, self._seen = signature == self._seen, signature
        self._is_changing = not rests
        if old is None or not rests or (signature == self._read and signature is not None):
            return
        try:
            new = self._new(old, signature)
        except ModelFault as fault:
            self._count("failed_loads", fault.reason)
            self.is_refused = fault.reason == "signature"
            if fault.reason in _LASTING:
                self._read = signature
            if self._told != (signature, fault.reason):
                self._told = signature, fault.reason
                self._log.warning("model_not_loaded", reason=fault.reason, error=str(fault))
            return
        self._read, self.is_refused = signature, False
        if new is not old and self.loaded is old:  # it may have been closed meanwhile
            self.loaded = new
            self._count("loads")
            self._show(new)
            self._log.info("model_loaded", model=new.model.digest, replaced=old.model.digest)

    def _new(self, old: LoadedModel, signature: _Signature) -> LoadedModel:
        """The model that the file has now, or `old` if it has the same. Raises `ModelFault`."""
        content = read_file(self.path, self._most_bytes)
        if _stat(self.path) != signature:
            raise ModelFault("changing", f"{self.path}: it changed while it was read")
        try:
            new = LoadedModel.of(content, self._wanted)
            if new.model.digest == old.model.digest:
                return old
            self._try(new, old.plan)
        except ConfigError as error:
            raise self._at_path(ModelFault("signature", str(error))) from None
        except ModelFault as fault:
            raise self._at_path(fault) from None
        return new

    def _try(self, new: LoadedModel, plan: ModelPlan) -> None:
        """Raises `ModelFault` for another plan, or if it does not run the records that ran last."""
        if new.plan != plan:
            raise ModelFault("signature", "its inputs or outputs have other types or shapes than before")
        if self.sample is None:
            return
        tensors = {name: tensor[:_SAMPLE] for name, tensor in self.sample.items()}
        try:
            new.run(tensors, len(next(iter(tensors.values()))))
        except ModelFault as fault:
            raise ModelFault("sample", f"it does not run the last records: {fault}") from None

    def _at_path(self, fault: ModelFault) -> ModelFault:
        return ModelFault(fault.reason, f"{self.path}: {fault}")

    def _show(self, new: LoadedModel) -> None:
        """Set the gauge of the model in use, also after a reload has made a new step."""
        gauge = f"{self._prefix}in_use"
        for key in [key for key in list(self._counters.gauges) if key[0] == gauge]:
            self._counters.gauges.pop(key, None)
        self._counters.set_gauge(gauge, 1.0, new.model.digest)

    def _count(self, name: str, reason: str = "") -> None:
        self._counters.add(self._prefix + name, 1, reason)


def _stat(path: Path) -> Any:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
