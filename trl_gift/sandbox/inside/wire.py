"""Frames between a judge and a program: a length, a nonce, a body.

The program is hostile. Its frames may state a wrong length, stop half-way, or arrive before the judge asked. The judge
draws a nonce for every request, which makes early and repeated replies worthless.
"""

from __future__ import annotations

import os
import struct

_HEADER = struct.Struct("<IQ")
_MAX_BODY = 64 << 20
_CHUNK = 1 << 20


class ChannelClosed(Exception):
    """The other side has closed the channel."""


class ProtocolViolation(Exception):
    """The other side sent what no honest program sends."""


def send(fd: int, nonce: int, body: bytes) -> None:
    """Write one frame."""
    view = memoryview(_HEADER.pack(len(body), nonce) + body)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except (BrokenPipeError, ConnectionResetError) as error:
        raise ChannelClosed from error


def receive(fd: int) -> tuple[int, bytes]:
    """Read one frame; waits until the other side sends or ends (a deadline ends it from outside)."""
    length, nonce = _HEADER.unpack(_exactly(fd, _HEADER.size))
    if length > _MAX_BODY:
        raise ProtocolViolation(f"a frame of {length} bytes; at most {_MAX_BODY} are accepted")
    return nonce, _exactly(fd, length)


def _exactly(fd: int, count: int) -> bytes:
    chunks = []
    while count:
        try:
            chunk = os.read(fd, min(count, _CHUNK))
        except ConnectionResetError as error:
            raise ChannelClosed from error
        if not chunk:
            raise ChannelClosed
        chunks.append(chunk)
        count -= len(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
