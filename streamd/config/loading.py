"""The configuration file: found, read, and every problem of it told at once."""

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamd.config import crosschecks, validation
from streamd.config.positions import Positions
from streamd.config.problems import Problem, dotted
from streamd.config.tables import Config
from streamd.core.errors import ConfigError
from streamd.core.printable import printable
from streamd.core.schema import Schema

SEARCHED = ("config/streamd.toml", "/etc/streamd/streamd.toml")
"""Where a configuration is looked for when none is named, in this order."""

LARGEST_BYTES = 16 << 20
"""A larger file is refused: it is a device or data, and no configuration."""


@dataclass(frozen=True)
class Loaded:
    """A configuration that may be used. `schemas` are built; `base_dir` is the folder of the file."""

    config: Config
    path: Path | None
    base_dir: Path
    schemas: dict[str, Schema]

    @property
    def state_dir(self) -> Path:
        """`[daemon] state_dir`, absolute."""
        return Path(self.config.daemon.state_dir).absolute()

    def error(self, problems: list[Problem]) -> ConfigError:
        """What was found wrong after loading, told with its lines."""
        if self.path is None:
            return ConfigError("\n".join(f"{dotted(place)}: {text}" for place, text in problems))
        return _error(self.path, read(self.path), problems)


def find(explicit: str | None) -> Path:
    """`explicit`, else `$STREAMD_CONFIG`, else the first of `SEARCHED`. Raises `ConfigError`."""
    named = explicit or os.environ.get("STREAMD_CONFIG")
    if named:
        return Path(named)
    for place in SEARCHED:
        if Path(place).exists():
            return Path(place)
    looked = ", ".join(str(Path(place).absolute()) for place in SEARCHED)
    raise ConfigError(
        f"no configuration found: $STREAMD_CONFIG is not set, and there is none at {looked};"
        " name one with --config"
    )


def load(path: Path) -> Loaded:
    """Read and check the file. Raises `ConfigError` with all problems, one a line, in order of lines."""
    text = read(path)
    document = parse(path, text)
    problems: list[Problem] = []
    parts = validation.validate(document, problems)
    schemas = crosschecks.check(parts, problems)
    if problems:
        raise _error(path, text, problems)
    return Loaded(parts.config(), path, path.absolute().parent, schemas)


def read(path: Path) -> str:
    """The text of the file. Raises `ConfigError`: whoever named it can name another."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > LARGEST_BYTES:
        raise ConfigError(f"{path}: larger than {LARGEST_BYTES >> 20} MiB: this is no configuration")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8: byte 0x{content[error.start]:02x}") from None


def parse(path: Path, text: str) -> dict[str, Any]:
    """The document. Raises `ConfigError` for the first error of syntax, with line and column."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what = str(error)
        found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", what, re.DOTALL)
        if found and found[2]:
            raise ConfigError(f"{path}:{found[2]}:{found[3]}: {found[1]}") from None
        last_line = text.count("\n") + 1
        raise ConfigError(
            f"{path}:{last_line}: {found[1] if found else what} at the end of the file"
        ) from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None


def _error(path: Path, text: str, problems: list[Problem]) -> ConfigError:
    positions = Positions(text)
    located = sorted(
        (positions.line(place), number, place, what) for number, (place, what) in enumerate(problems)
    )
    return ConfigError(
        "\n".join(f"{path}:{line}: {dotted(place)}: {printable(what)}" for line, _, place, what in located)
    )
