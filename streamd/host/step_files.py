"""The files that steps and codecs read: Python, and tables, models and keys."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streamd.config import Loaded
from streamd.core.settings import ComponentSettings

_CODE = {"python": "function", "river": "model"}
"""The options that name Python code, by the type of the codec or step. A rule of `validate` has `model`."""
_FILES = {"model": ("file", "shadow"), "lookup": ("path",), "redact": ("key",)}
"""The options that name other files. A rule of `validate` has `path`."""


def python_files(loaded: Loaded) -> Iterator[tuple[str, Path]]:
    """The Python files of codecs and steps, each with its place in the configuration.

    Of modules only files in the configuration's folder.
    """
    for place, step in (*_codecs(loaded), *_steps(loaded)):
        references = [("", step.options.get(_CODE.get(step.type, "")))]
        references += [(f" {rule}.model", options.get("model")) for rule, options in _rules(step)]
        for option, reference in references:
            module, _, _ = str(reference or "").rpartition(":")
            inner = Path(*module.split("."))
            files = [module] if module.endswith(".py") else [f"{inner}.py", f"{inner}/__init__.py"]
            for path in (loaded.base_dir / file for file in files if module):
                if path.is_file():
                    yield f"{place}{option}", path


def other_files(loaded: Loaded) -> Iterator[tuple[str, Path]]:
    """The tables, models and keys of steps, each with its step and option, by their absolute paths."""
    for place, step in _steps(loaded):
        options = [(name, step.options.get(name)) for name in _FILES.get(step.type, ())]
        options += [(f"{rule}.path", rule_options.get("path")) for rule, rule_options in _rules(step)]
        for name, file in options:
            if isinstance(file, str):  # a key may be a credential
                yield f"{place} {name}", Path(os.path.abspath(loaded.base_dir / file))  # noqa: PTH100 - keeps links


def _codecs(loaded: Loaded) -> Iterator[tuple[str, ComponentSettings]]:
    for name, source in loaded.config.sources.items():
        yield f"sources.{name}.codec", source.codec


def _steps(loaded: Loaded) -> Iterator[tuple[str, ComponentSettings]]:
    for name, pipeline in loaded.config.pipelines.items():
        for number, step in enumerate(pipeline.steps):
            yield f"pipelines.{name}.steps[{number}]", step


def _rules(step: ComponentSettings) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rules of a step `validate`."""
    if step.type == "validate":
        for number, rule in enumerate(step.options.get("rules", ())):
            yield f"rules[{number}]", rule
