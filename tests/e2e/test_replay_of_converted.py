"""Letters of frames that were joined or converted: a replay gives what the frames would have given."""

import gzip
import json
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIG = r"""
[ledger]
interval = "100ms"
[admin]
listen = "none"
[schemas.reading]
id = { type = "int", le = 5 }
text = "str"
[schemas.log]
short_message = "str"
level = { type = "int", le = 5 }
[sources.packed]
type = "udp"
listen = "127.0.0.1:0"
decompress = "gzip"
encoding = "utf-16"
codec = "json"
schema = "reading"
[sources.zipped]
type = "udp"
listen = "127.0.0.1:0"
decompress = "zlib"
codec = "json"
schema = "reading"
[sources.latin]
type = "tcp"
listen = "127.0.0.1:0"
encoding = "latin-1"
multiline = { continues = '\s' }
codec = { type = "python", function = "decoder.py:decode" }
schema = "reading"
[sources.lined]
type = "file"
path = "lined.log"
encoding = "cp1252"
codec = { type = "csv", columns = ["id", "text"] }
schema = "reading"
[sources.chunked]
type = "udp"
listen = "127.0.0.1:0"
codec = "gelf"
schema = "log"
[pipelines.main]
sources = ["packed", "zipped", "latin", "lined", "chunked"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
"""
DECODER = """
def decode(payload):
    head, _, text = payload.decode().partition(" ")
    return {"id": int(head), "text": text}
"""
IDS = range(1, 10)
BAD = range(6, 10)


def one(number: int) -> bytes:
    return json.dumps({"id": number, "text": f"é {number}\n"}, ensure_ascii=False).encode()


def several(*numbers: int) -> bytes:
    return b"[" + b",".join(map(one, numbers)) + b"]"


def chunks(number: int) -> list[bytes]:
    """A compressed message in three datagrams, the last one first."""
    text = f"数据 {number} " + "".join(f"{n:x}" for n in range(200))
    message = gzip.compress(
        json.dumps({"short_message": text, "level": number, "timestamp": number}).encode()
    )
    size = len(message) // 3 + 1
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    head = b"\x1e\x0f" + number.to_bytes(8, "big")
    return [head + bytes((place, len(parts))) + part for place, part in enumerate(parts)][::-1]


def send(daemon: Any, folder: Path) -> None:
    def packed(payload: bytes) -> bytes:
        return gzip.compress(payload.decode().encode("utf-16"), mtime=0)

    daemon.udp(*(packed(one(n)) for n in IDS), packed(several(2, 7, 8)), source="packed")
    daemon.udp(zlib.compress(several(1, 9)), *(zlib.compress(one(n)) for n in IDS), source="zipped")
    daemon.udp(*(chunk for n in IDS for chunk in chunks(n)), source="chunked")
    daemon.tcp("".join(f"{n} é first\n\tsecond\n third {n}\n" for n in IDS).encode("latin-1"), source="latin")
    (folder / "lined.log").write_bytes("".join(f'{n},"„é“ {n}"\n' for n in IDS).encode("cp1252"))


def stored(daemon: Any) -> list[tuple[str, str]]:
    return sorted(daemon.query("SELECT source, record FROM records"))


def test_replayed_letters_give_the_records_that_the_frames_would_have_given(
    start_in: Callable[..., Any], wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    mended = CONFIG.replace("le = 5", "le = 9")
    for name in ("first", "right"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "decoder.py").write_text(DECODER)
    daemon = start_in("first", CONFIG)
    send(daemon, daemon.folder)
    wait_until(lambda: len(stored(daemon)) == 5 * 5 + 2, "the records that were good")
    wait_until(lambda: len(daemon.dead_letters("chunked")) == 3 * len(BAD), "the chunks that were not")
    daemon.stop()
    assert len(daemon.dead_letters("packed")) == len(BAD) + 2
    assert {payload for _, _, payload in daemon.dead_letters("latin")} == {
        f"{n} é first\n\tsecond\n third {n}".encode("latin-1") for n in BAD
    }
    daemon.config.write_text(mended)
    command = [sys.executable, "-m", "streamd", "dead-letters", "replay", "--config", str(daemon.config)]
    done = subprocess.run(command, cwd=daemon.folder, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert re.search(r"\b31 ", done.stdout), done.stdout
    assert daemon.query("SELECT count(*) FROM dead_letters", "dead-letters.db") == [(0,)]
    replayed = stored(daemon)
    right = start_in("right", mended)
    send(right, right.folder)
    wait_until(lambda: len(stored(right)) == len(replayed), "all records")
    right.stop()
    assert replayed == stored(right)
