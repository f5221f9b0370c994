"""zstd (RFC 8878), with the module of Python or, before Python 3.14, a package that has the same one."""

import sys
from typing import TYPE_CHECKING, Any

from streamd.core.errors import BadData, ConfigError

if TYPE_CHECKING:
    from backports import zstd

_WINDOW_LOG = 23
"""8 MiB: what RFC 8878 asks every reader to have. All levels of zstd but the `--ultra` ones need no more."""
_TOO_LARGE = "too much memory"


def require_zstd() -> None:
    """Raises `ConfigError` without the package."""
    try:
        _module()
    except ImportError:
        raise ConfigError(
            "zstd needs the package backports.zstd: pip install 'streamd-daemon[zstd]'", ("decompress",)
        ) from None


def compress_zstd(data: bytes) -> bytes:
    """The data as one frame of zstd."""
    compressed: bytes = _module().compress(data)
    return compressed


class ZstdFrame:
    """Decompresses one frame of zstd. Memory: its window, at most 8 MiB."""

    def __init__(self) -> None:
        module = _module()
        options = {module.DecompressionParameter.window_log_max: _WINDOW_LOG}
        self._frame: zstd.ZstdDecompressor = module.ZstdDecompressor(options=options)
        self._error: type[Exception] = module.ZstdError

    @property
    def eof(self) -> bool:
        """Whether the frame has ended."""
        return self._frame.eof

    @property
    def unused_data(self) -> bytes:
        """The bytes behind the end of the frame."""
        return self._frame.unused_data

    @property
    def needs_input(self) -> bool:
        """Whether there is no more content without more data."""
        return self._frame.needs_input

    def read(self, data: bytes, most_bytes: int) -> bytes:
        """At most so many bytes of content. Raises `BadData`."""
        try:
            return self._frame.decompress(data, most_bytes)
        except self._error as error:
            text = str(error).rpartition(": ")[2]
            reason = "compressed:window" if _TOO_LARGE in text else "compressed:syntax"
            raise BadData(reason, text) from None


def _module() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 - only for sources that ask for it
    else:
        from backports import zstd  # noqa: PLC0415 - the same
    return zstd
