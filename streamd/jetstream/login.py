"""Reads the files of a login at NATS servers."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import nkeys
from nats.aio.client import RawCredentials

from streamd.core.credential import File, content_of, path_of
from streamd.core.errors import EnvironmentFault
from streamd.jetstream.settings import NatsSettings

_SEED = "BEGIN USER NKEY SEED"
_JWT = "BEGIN NATS USER JWT"


def login_of(settings: NatsSettings, base_dir: Path) -> dict[str, Any]:
    """The arguments of `nats.connect` for the login. Raises `EnvironmentFault` for an unusable file."""
    if settings.user is not None and settings.password is not None:
        return {"user": settings.user, "password": _text(settings.password, base_dir)}
    if settings.token is not None:
        return {"token": _text(settings.token, base_dir)}
    if settings.nkey is not None:
        seed = _text(settings.nkey, base_dir)
        _check_seed(seed, path_of(settings.nkey, base_dir))
        return {"nkeys_seed_str": seed}
    if settings.credentials is not None:
        text = _text(settings.credentials, base_dir) + "\n"
        path = path_of(settings.credentials, base_dir)
        lines = [line.strip() for line in text.splitlines()]
        for heading in (_JWT, _SEED):
            if not any(heading in line for line in lines[:-1]):
                raise EnvironmentFault(f'{path} is no file of credentials: it has no "{heading}"')
        _check_seed(next(below for line, below in pairwise(lines) if _SEED in line), path)
        return {"user_credentials": RawCredentials(text)}
    return {}


def _text(file: File, base_dir: Path) -> str:
    path = path_of(file, base_dir)
    try:
        text = content_of(path).decode().strip("\r\n")
    except UnicodeDecodeError:
        raise EnvironmentFault(f"{path} is no text in UTF-8") from None
    if not text:
        raise EnvironmentFault(f"{path} is empty")
    return text


def _check_seed(seed: str, path: Path) -> None:
    try:
        nkeys.from_seed(bytearray(seed.encode())).wipe()
    except Exception:  # noqa: BLE001 - its errors have no common base, and their texts may quote the seed
        raise EnvironmentFault(f"{path} holds no seed of an nkey") from None
