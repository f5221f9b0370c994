"""Reads lines from a file, a pipe or a terminal as they arrive, in bounded memory."""

import os
import select
from collections.abc import Iterator

from streamd.client.stop import Stop
from streamd.core.errors import EnvironmentFault

_READ_BYTES = 256 * 1024
LONGEST_LINE_BYTES = 16 * 1024 * 1024


def read_lines(descriptor: int, stop: Stop) -> Iterator[list[bytes]]:
    """All lines of `descriptor`, without their ends (LF or CRLF); empty lines are skipped.

    A line is yielded as soon as it is complete. A last line without an end counts as a line. Raises
    `EnvironmentFault` for a line over 16 MiB or input that cannot be read, and `Stopped`.
    """
    rest = b""
    while True:
        stop.wait_for(descriptor, select.POLLIN)
        try:
            block = os.read(descriptor, _READ_BYTES)
        except OSError as error:
            raise EnvironmentFault(f"cannot read the input: {error.strerror}") from error
        if not block:
            break
        end = block.rfind(b"\n")
        if end < 0:
            rest += block
            if len(rest) > LONGEST_LINE_BYTES:
                raise EnvironmentFault(f"a line of the input is longer than {LONGEST_LINE_BYTES >> 20} MiB")
            continue
        whole, rest = rest + block[:end], block[end + 1 :]
        if lines := _split(whole):
            yield lines
    if lines := _split(rest):
        yield lines


def _split(block: bytes) -> list[bytes]:
    if b"\r" in block:
        lines = [line.removesuffix(b"\r") for line in block.split(b"\n")]
    else:
        lines = block.split(b"\n")
    return [line for line in lines if line] if b"" in lines else lines
