"""The token of the admin address: who sends it may read data of records and change the daemon."""

import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from streamd.core.credential import File, path_of
from streamd.core.errors import EnvironmentFault
from streamd.core.secret_file import MAKE_ONE, MissingSecret, read_secret

OWN_FILE = "admin.token"
"""The file of the token that the daemon makes itself, in state_dir."""
MIN_BYTES = 20
MAX_BYTES = 512
_NAMED = "the token of the admin address"
_REMOVE_IT = "remove it, and the daemon makes another one at its start"
_SCHEME = "bearer"


class Token:
    """A secret, compared in constant time."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._bytes = text.encode()

    def is_in(self, authorization: str) -> bool:
        """Whether the value of an `Authorization` header is `Bearer` and this token."""
        scheme, _, given = authorization.partition(" ")
        fits = hmac.compare_digest(given.strip(" ").encode(), self._bytes)
        return fits and scheme.lower() == _SCHEME


def configured(file: File, base_dir: Path) -> Token:
    """The token of a file that the configuration names. Raises `EnvironmentFault`."""
    return _read(path_of(file, base_dir), MAKE_ONE)


def own(state_dir: Path) -> Token:
    """The token in state_dir, made if there is none, for this user only. Raises `EnvironmentFault`."""
    path = state_dir / OWN_FILE
    try:
        return _read(path, _REMOVE_IT)
    except MissingSecret:
        pass
    text = secrets.token_urlsafe(32)
    part = path.with_name(f"{OWN_FILE}.part")
    try:
        with suppress(FileNotFoundError):
            part.unlink()
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{text}\n")
        part.replace(path)
    except OSError as error:
        raise EnvironmentFault(f"{_NAMED} {path} cannot be written: {error.strerror}") from None
    return Token(text)


def rehearse_own(state_dir: Path) -> None:
    """Raises the error that `own` would raise for a token that is there. Makes nothing."""
    with suppress(MissingSecret):
        _read(state_dir / OWN_FILE, _REMOVE_IT)


def _read(path: Path, remedy: str) -> Token:
    """The token in the file. Raises `MissingSecret` and other `EnvironmentFault`."""
    text = read_secret(path, _NAMED, least_bytes=MIN_BYTES, most_bytes=MAX_BYTES, remedy=remedy)
    if not all(33 <= byte < 127 for byte in text):  # noqa: PLR2004 - the printable characters of ASCII
        raise EnvironmentFault(
            f"{_NAMED} {path} must be one line of printable characters without spaces: {remedy}"
        )
    return Token(text.decode())
