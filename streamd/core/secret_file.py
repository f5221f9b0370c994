"""Reads a file with one secret, and refuses a secret that others can read or guess."""

import os
import stat
from pathlib import Path

from streamd.core.errors import EnvironmentFault
from streamd.core.plural import counted

MAKE_ONE = "`openssl rand -hex 32` makes one"
_MIN_DIFFERENT = 6


class MissingSecret(EnvironmentFault):
    """There is no such file."""


def read_secret(
    path: Path,
    named: str,
    *,
    least_bytes: int,
    most_bytes: int,
    least_different: int = _MIN_DIFFERENT,
    remedy: str = MAKE_ONE,
) -> bytes:
    """The content of the file without the line end behind it.

    The texts of errors begin with `named` and the path, and end with `remedy`: how to get another secret.
    Raises `MissingSecret` and other `EnvironmentFault`.
    """
    named = f"{named} {path}"
    try:
        # A FIFO without a writer would block the daemon.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise MissingSecret(f"{named} cannot be read: {error.strerror}; {remedy}") from None
    except OSError as error:
        raise EnvironmentFault(f"{named} cannot be read: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise EnvironmentFault(f"{named} is no regular file")
        if found.st_mode & (stat.S_IROTH | stat.S_IWOTH):
            raise EnvironmentFault(
                f"{named} is open to all users (mode {stat.S_IMODE(found.st_mode):04o}): run chmod o-rwx"
                f" {path}; if somebody may have read it, replace it: {remedy}"
            )
        content = os.read(descriptor, most_bytes + len(b"\r\n") + 1)
    except OSError as error:
        raise EnvironmentFault(f"{named} cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    secret = content.removesuffix(b"\n").removesuffix(b"\r")
    if (weakness := _weakness(secret, least_bytes, most_bytes, least_different)) is not None:
        raise EnvironmentFault(f"{named} {weakness}: {remedy}")
    return secret


def _weakness(secret: bytes, least_bytes: int, most_bytes: int, least_different: int) -> str | None:
    if not secret:
        return "is empty"
    if len(secret) < least_bytes:
        return f"has {counted(len(secret), 'byte')}, and needs at least {least_bytes}"
    if len(secret) > most_bytes:
        return f"is longer than {most_bytes} bytes"
    if len(set(secret)) < least_different:
        return "repeats few bytes and can be guessed"
    return None
