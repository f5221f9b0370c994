"""The secret key of hashes, read from a file."""

import os
import stat
from hashlib import blake2b
from pathlib import Path

from streamd.core.credential import File, path_of
from streamd.core.errors import EnvironmentFault

MIN_BYTES = 16
MAX_BYTES = 4096
_MIN_DIFFERENT = 6
_MAKE_ONE = "`openssl rand -hex 32` makes one"


def read_key(file: File, base_dir: Path) -> bytes:
    """The content of the key file without the line end behind it. Raises `EnvironmentFault`."""
    path = path_of(file, base_dir)
    try:
        # A FIFO without a writer would block the daemon.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        hint = f"; {_MAKE_ONE}" if isinstance(error, FileNotFoundError) else ""
        raise EnvironmentFault(f"the key {path} cannot be read: {error.strerror}{hint}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise EnvironmentFault(f"the key {path} is no regular file")
        if found.st_mode & (stat.S_IROTH | stat.S_IWOTH):
            raise EnvironmentFault(
                f"the key {path} is open to all users (mode {stat.S_IMODE(found.st_mode):04o}): run chmod"
                f" o-rwx {path}, and write another key if somebody may have read it"
            )
        content = os.read(descriptor, MAX_BYTES + 1)
    except OSError as error:
        raise EnvironmentFault(f"the key {path} cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise EnvironmentFault(f"the key {path} is longer than {MAX_BYTES} bytes: {_MAKE_ONE}")
    key = content.removesuffix(b"\n").removesuffix(b"\r")
    if not key:
        raise EnvironmentFault(f"the key {path} is empty: {_MAKE_ONE}")
    if len(key) < MIN_BYTES:
        raise EnvironmentFault(
            f"the key {path} has {len(key)} bytes, and needs at least {MIN_BYTES}: {_MAKE_ONE}"
        )
    if len(set(key)) < _MIN_DIFFERENT:
        raise EnvironmentFault(f"the key {path} repeats few bytes and can be guessed: {_MAKE_ONE}")
    return key


def fingerprint(key: bytes | None) -> bytes:
    """Recognises a key without keeping it."""
    return b"" if key is None else blake2b(key, digest_size=16, person=b"streamd is same").digest()
