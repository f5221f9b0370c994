"""The secret key of hashes, read from a file."""

from hashlib import blake2b
from pathlib import Path

from streamd.core.credential import File, path_of
from streamd.core.secret_file import read_secret

MIN_BYTES = 16
MAX_BYTES = 4096


def read_key(file: File, base_dir: Path) -> bytes:
    """The content of the key file without the line end behind it. Raises `EnvironmentFault`."""
    return read_secret(path_of(file, base_dir), "the key", least_bytes=MIN_BYTES, most_bytes=MAX_BYTES)


def fingerprint(key: bytes | None) -> bytes:
    """Recognises a key without keeping it."""
    return b"" if key is None else blake2b(key, digest_size=16, person=b"streamd is same").digest()
