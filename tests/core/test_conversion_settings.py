from typing import Any

import pytest
from pydantic import ValidationError

from streamd.core.conversion_settings import FrameConversion, keeps_ascii
from streamd.jetstream.source_settings import NatsSourceSettings
from streamd.sources.file import File
from streamd.sources.tcp import Tcp
from streamd.sources.udp import Udp
from streamd.sources.unix import Unix


def udp(**options: Any) -> FrameConversion | None:
    return Udp.Config.model_validate({"type": "udp", "listen": "127.0.0.1:0", **options}).converted_by


def tcp(**options: Any) -> FrameConversion | None:
    return Tcp.Config.model_validate({"type": "tcp", "listen": "127.0.0.1:0", **options}).converted_by


def unix(**options: Any) -> FrameConversion | None:
    return Unix.Config.model_validate({"type": "unix", "path": "s", **options}).converted_by


def test_nothing_is_converted_unless_it_is_asked_for() -> None:
    assert (udp(), tcp(), unix(), unix(mode="datagram")) == (None, None, None, None)
    assert udp(encoding="latin-1") == ("latin-1", None, 256 << 10)
    assert udp(decompress="zlib", max_inflated="1KiB") == (None, "zlib", 1024)
    assert tcp(encoding="cp1252") == ("cp1252", None, 0)
    assert unix(mode="datagram", decompress="gzip") == (None, "gzip", 256 << 10)


@pytest.mark.parametrize(
    "name", ["base64", "rot13", "zlib", "idna", "punycode", "unicode-escape", "x\0", "x", ""]
)
def test_what_is_no_character_set_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=r"unknown encoding .*; use the name of a character set"):
        udp(encoding=name)


def test_a_framing_of_lines_needs_line_ends() -> None:
    for encoding in ("utf-16", "utf-32-le", "cp037"):
        assert not keeps_ascii(encoding)
        for options in ({}, {"framing": "nul"}, {"framing": "influx"}):
            with pytest.raises(ValidationError, match=f'cannot cut encoding = "{encoding}"'):
                tcp(encoding=encoding, **options)
        assert tcp(encoding=encoding, framing="length_prefix")
        assert udp(encoding=encoding)
        with pytest.raises(ValidationError, match="multiline cannot read encoding"):
            tcp(encoding=encoding, framing="length_prefix", multiline={"start": "x"})
    for encoding in ("latin-1", "utf-8", "shift_jis", "gb18030"):
        assert keeps_ascii(encoding)
        assert tcp(encoding=encoding, multiline={"start": "x"})


def test_a_stream_is_decompressed_before_its_framing_and_not_frame_by_frame() -> None:
    streams = Tcp.Config.model_validate({"type": "tcp", "listen": "127.0.0.1:0", "decompress": "gzip"})
    assert (streams.inflated_by, streams.converted_by) == ("gzip", None)
    for mode, inflated_by in (("stream", "gzip"), ("datagram", None)):
        made = Unix.Config.model_validate({"type": "unix", "path": "s", "mode": mode, "decompress": "gzip"})
        assert (made.inflated_by, made.converted_by is None) == (inflated_by, mode == "stream")


def test_a_message_of_nats_is_converted_as_a_datagram_is() -> None:
    options = {"type": "nats", "servers": ["127.0.0.1:4222"], "stream": "s", "consumer": "c"}
    made = NatsSourceSettings.model_validate(options | {"framing": "none", "decompress": "zlib"})
    assert made.converted_by == FrameConversion(None, "zlib", 1 << 18)
    assert NatsSourceSettings.model_validate(options | {"encoding": "latin-1"}).converted_by is not None
    with pytest.raises(ValidationError, match="remove framing"):
        NatsSourceSettings.model_validate(options | {"decompress": "zlib"})


def test_a_file_that_is_followed_cannot_be_compressed() -> None:
    with pytest.raises(ValidationError, match=r"reading cannot go on in its middle.*zcat FILE"):
        File.Config.model_validate({"type": "file", "path": "a.log.gz", "decompress": "gzip"})


def test_decompress_is_for_whole_datagrams() -> None:
    with pytest.raises(ValidationError, match="max_inflated is for datagrams"):
        unix(decompress="gzip", max_inflated="1KiB")
    assert udp(decompress="zstd") == FrameConversion(None, "zstd", 1 << 18)
    with pytest.raises(ValidationError, match="remove framing"):
        udp(decompress="gzip", framing="newline")
    with pytest.raises(ValidationError, match="max_inflated needs decompress"):
        udp(max_inflated="1KiB")
