"""Finds, reads and checks the configuration file, and reports all its problems at once."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamd.config import crosschecks, loops, validation
from streamd.config.functions import with_functions
from streamd.config.problems import Problem
from streamd.config.tables import CONTROL_OFF, Config, ControlSettings, DaemonSettings
from streamd.config.written import WrittenConfig
from streamd.core.errors import ConfigError
from streamd.core.paths import unexpanded
from streamd.core.printable import printable
from streamd.core.schema import Schema

SEARCHED = ("config/streamd.toml", "/etc/streamd/streamd.toml")
"""The paths that are tried, in this order, if no configuration is named."""


@dataclass(frozen=True)
class Loaded:
    """A valid configuration with its built schemas. `base_dir` is the folder of the main file."""

    config: Config
    written: WrittenConfig
    base_dir: Path
    schemas: dict[str, Schema]

    @property
    def path(self) -> Path:
        """The main file."""
        return self.written.path

    @property
    def state_dir(self) -> Path:
        """`[daemon] state_dir`, absolute."""
        return Path(self.config.daemon.state_dir).absolute()

    @property
    def control_path(self) -> Path | None:
        """`[control] path`, absolute, or None if the control socket is turned off."""
        return control_path(self.config.daemon, self.config.control)

    def error(self, problems: list[Problem]) -> ConfigError:
        """An error with the file and line of each problem found after loading."""
        return self.written.error(problems)


def control_path(daemon: DaemonSettings, control: ControlSettings) -> Path | None:
    """The absolute path of the control socket, or None if it is turned off."""
    return None if control.path == CONTROL_OFF else Path(daemon.state_dir).absolute() / control.path


def find(explicit: str | None) -> Path:
    """The path: `explicit`, else `$STREAMD_CONFIG`, else the first existing path of `SEARCHED`.

    Raises `ConfigError` if there is none.
    """
    named = explicit or os.environ.get("STREAMD_CONFIG")
    if named:
        if why := unexpanded(named):
            raise ConfigError(f"{printable(named)}: {why}")
        return Path(named)
    for place in SEARCHED:
        if Path(place).exists():
            return Path(place)
    looked = ", ".join(str(Path(place).absolute()) for place in SEARCHED)
    raise ConfigError(
        f"no configuration found: $STREAMD_CONFIG is not set, and there is no file at {looked};"
        " name one with --config"
    )


def load(path: Path) -> Loaded:
    """Read and check the file and the files of `conf.d` in its folder.

    Raises `ConfigError` with one line for each problem, in the order of files and lines.
    """
    written = WrittenConfig(path)
    problems: list[Problem] = []
    parts = validation.validate(written.document, problems)
    schemas = crosschecks.check(parts, problems)
    loops.check(parts, path.absolute().parent, problems)
    if problems:
        raise written.error([_with_functions(problem, written) for problem in problems])
    return Loaded(parts.config(), written, path.absolute().parent, schemas)


def _with_functions(problem: Problem, written: WrittenConfig) -> Problem:
    if problem.place[-1:] != ("function",):
        return problem
    value: Any = written.document
    for part in problem.place:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return problem
    return with_functions(problem, value, written.path.absolute().parent)
