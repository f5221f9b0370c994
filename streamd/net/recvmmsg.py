"""Reads up to 512 datagrams in one system call, through ctypes."""

import ctypes
import errno
import mmap
import os
import socket
import struct
from array import array as array_of
from collections.abc import Callable

from streamd.core.contracts import ReadNotes

Datagrams = tuple[list[bytes], list[bytes], int]
"""Payloads, the raw address of each one's sender, and the total size of the payloads in bytes."""

BATCH = 512
SLOT_BYTES = 65536
"""Room for one datagram. A payload has at most 65,507 bytes, so none is truncated."""
NAME_BYTES = 32
_NOTHING: Datagrams = ([], [], 0)


class IoVec(ctypes.Structure):
    """`struct iovec`: the buffer of one datagram."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class MsgHdr(ctypes.Structure):
    """`struct msghdr`: one datagram and its sender."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.POINTER(IoVec)),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class MMsgHdr(ctypes.Structure):
    """`struct mmsghdr`: an element of the array that `recvmmsg` fills."""

    _fields_ = (("header", MsgHdr), ("length", ctypes.c_uint32))


HEADERS_BYTES = BATCH * ctypes.sizeof(MMsgHdr)
_UNTOUCHED = 2**32 - 1
"""A length that the kernel has not set."""


def taken(headers: memoryview) -> int:
    """How many datagrams the last read has taken, from the memory in which the kernel reported them."""
    return sum(length != _UNTOUCHED for length in _lengths(headers))


def new_receiver(sock: socket.socket, notes: ReadNotes | None = None) -> Callable[[], Datagrams]:
    """A function that reads the queued datagrams, at most `BATCH`; empty lists if none is queued.

    The function raises `OSError`. With `notes`, another process can find out with `taken` what a read has
    taken from the queue, even if this process is killed within the system call.
    """
    try:
        # PyDLL keeps the interpreter lock. The call never blocks, and after releasing the lock it would wait
        # a switch interval to get it back whenever the database thread runs.
        recvmmsg = ctypes.PyDLL(None, use_errno=True).recvmmsg
    except AttributeError:
        return _one_by_one(sock)
    return _in_bulk(sock, recvmmsg, notes)


def _lengths(headers: memoryview) -> "memoryview[int]":
    return headers.cast("B").cast("I")[MMsgHdr.length.offset // 4 :: ctypes.sizeof(MMsgHdr) // 4]


def _in_bulk(
    sock: socket.socket, recvmmsg: Callable[..., int], notes: ReadNotes | None
) -> Callable[[], Datagrams]:
    # Anonymous maps use memory only for pages that datagrams have touched, and a slice of a map is a bytes
    # object made in one step.
    data = mmap.mmap(-1, BATCH * SLOT_BYTES)
    names = mmap.mmap(-1, BATCH * NAME_BYTES)
    data_start = ctypes.addressof(ctypes.c_char.from_buffer(data))
    names_start = ctypes.addressof(ctypes.c_char.from_buffer(names))
    vectors = (IoVec * BATCH)()
    array = MMsgHdr * BATCH
    headers = array() if notes is None else array.from_buffer(notes.headers)
    for index in range(BATCH):
        vectors[index].base = data_start + index * SLOT_BYTES
        vectors[index].length = SLOT_BYTES
        header = headers[index].header
        header.name = names_start + index * NAME_BYTES
        header.name_length = NAME_BYTES
        header.iov = ctypes.pointer(vectors[index])
        header.iov_length = 1
    lengths = _lengths(memoryview(headers))
    untouched = memoryview(array_of("I", [_UNTOUCHED] * BATCH))
    lengths[:] = untouched
    name_bytes = 16 if sock.family == socket.AF_INET else 28
    data_offsets = range(0, BATCH * SLOT_BYTES, SLOT_BYTES)
    name_ends = range(name_bytes, BATCH * NAME_BYTES, NAME_BYTES)
    fd = sock.fileno()

    def receive() -> Datagrams:
        count = recvmmsg(fd, headers, BATCH, socket.MSG_DONTWAIT, None)
        if count <= 0:
            _raise_unless_empty(ctypes.get_errno())
            return _NOTHING
        sizes = lengths[:count].tolist()
        payloads = [data[at : at + size] for at, size in zip(data_offsets, sizes, strict=False)]
        senders = [names[end - name_bytes : end] for end in name_ends[:count]]
        return payloads, senders, sum(sizes)

    if notes is None:
        return receive
    begin, last = notes.begin, 0

    def receive_noted() -> Datagrams:
        nonlocal last
        if last:
            lengths[:last] = untouched[:last]
        begin()
        found = receive()
        last = len(found[0])
        return found

    return receive_noted


def _one_by_one(sock: socket.socket) -> Callable[[], Datagrams]:
    """The slower fallback for a libc without `recvmmsg`."""

    def receive() -> Datagrams:
        payloads: list[bytes] = []
        senders: list[bytes] = []
        try:
            for _ in range(BATCH):
                payload, address = sock.recvfrom(SLOT_BYTES)
                payloads.append(payload)
                senders.append(_raw_address(sock.family, address))
        except OSError as error:
            _raise_unless_empty(error.errno or 0)
        return payloads, senders, sum(map(len, payloads))

    return receive


def _raw_address(family: int, address: tuple[str, int]) -> bytes:
    host, port = address[0], address[1].to_bytes(2, "big")
    kind = struct.pack("=H", family)
    if family == socket.AF_INET:
        return kind + port + socket.inet_pton(family, host) + bytes(8)
    return kind + port + bytes(4) + socket.inet_pton(family, host.partition("%")[0]) + bytes(4)


def _raise_unless_empty(code: int) -> None:
    # A connected socket may report ICMP errors of a sender's host, which must not end the source.
    if code not in (errno.EAGAIN, errno.EINTR, errno.ECONNREFUSED):
        raise OSError(code, os.strerror(code))
