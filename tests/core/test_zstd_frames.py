import sys

import pytest
from backports import zstd

from streamd.core.errors import BadData, ConfigError
from streamd.core.inflate import inflate_zstd
from streamd.core.zstd_frames import compress_zstd, require_zstd


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    require_zstd()
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.delattr("backports.zstd", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'streamd-daemon\[zstd\]'") as missing:
        require_zstd()
    assert missing.value.keys == ("decompress",)


def test_a_datagram_is_read_up_to_its_limit() -> None:
    assert inflate_zstd(compress_zstd(b"a" * 100), 100) == b"a" * 100
    assert inflate_zstd(compress_zstd(b"") + zstd.compress(b"b"), 1) == b"b"
    for data, most, reason in (
        (compress_zstd(b"a" * 101), 100, "compressed:size"),
        (compress_zstd(bytes(100_000_000)), 1000, "compressed:size"),
        (compress_zstd(b"a" * 50)[:-1], 100, "compressed:syntax"),
        (compress_zstd(b"a") + b"rest", 100, "compressed:syntax"),
        (b"plain", 100, "compressed:syntax"),
        (b"", 100, "compressed:syntax"),
    ):
        with pytest.raises(BadData) as refused:
            inflate_zstd(data, most)
        assert refused.value.reason == reason
