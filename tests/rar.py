"""Write RAR5 archives of stored (not compressed) files, which no free tool does.

The format: https://www.rarlab.com/technote.htm
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SIGNATURE = b"Rar!\x1a\x07\x01\x00"

MAIN, FILE, ENCRYPTION, END = 1, 2, 4, 5

#: Kinds of redirection: what a member is instead of a file with content.
SYMLINK, HARDLINK, COPY = 1, 4, 5


@dataclass(frozen=True)
class Member:
    """One member of an archive; with `redirected` it is a link of that kind to `target`.

    A lone surrogate in the name, such as \\udcff, stands for a byte that is no UTF-8.
    """

    name: str
    content: bytes = b""
    is_folder: bool = False
    redirected: int = 0
    target: str = ""
    encrypted: bool = False
    mode: int = 0o100644


def write_rar(
    path: Path, members: Iterable[Member], *, volume: int | None = None, is_last: bool = True
) -> Path:
    """Write one archive, or with `volume` (0, 1, ...) one part of an archive of several."""
    with path.open("wb") as file:
        file.write(SIGNATURE)
        file.write(_block(MAIN, _volume_fields(volume)))
        for member in members:
            file.writelines(_blocks_of(member))
        file.write(_block(END, _number(0 if is_last else 1)))
    return path


def write_rar_with_encrypted_headers(path: Path) -> Path:
    """Write the beginning of an archive whose names are encrypted too, and noise behind it."""
    path.write_bytes(SIGNATURE + _block(ENCRYPTION, bytes(19)) + bytes(range(256)))
    return path


def _volume_fields(volume: int | None) -> bytes:
    if volume is None:
        return _number(0)
    return _number(1) if volume == 0 else _number(3) + _number(volume)


def _blocks_of(member: Member) -> Iterator[bytes]:
    name = member.name.encode(errors="surrogateescape")
    fields = b"".join(
        (
            _number(1 if member.is_folder else 4),  # 4: a CRC32 follows
            _number(len(member.content)),
            _number(member.mode),
            b"" if member.is_folder else struct.pack("<I", zlib.crc32(member.content)),
            _number(0),  # stored
            _number(1),  # made by Unix
            _number(len(name)) + name,
        )
    )
    yield _block(FILE, fields, extra=_extra_of(member), data=len(member.content))
    yield member.content


def _extra_of(member: Member) -> bytes:
    extra = b""
    if member.encrypted:
        extra += _record(1, bytes(35))
    if member.redirected:
        target = member.target.encode()
        extra += _record(5, _number(member.redirected) + _number(0) + _number(len(target)) + target)
    return extra


def _block(kind: int, fields: bytes, *, extra: bytes = b"", data: int = 0) -> bytes:
    flags = (1 if extra else 0) | (2 if kind == FILE else 0)
    sizes = (_number(len(extra)) if extra else b"") + (_number(data) if kind == FILE else b"")
    body = _number(kind) + _number(flags) + sizes + fields + extra
    sized = _number(len(body)) + body
    return struct.pack("<I", zlib.crc32(sized)) + sized


def _record(kind: int, fields: bytes) -> bytes:
    body = _number(kind) + fields
    return _number(len(body)) + body


def _number(value: int) -> bytes:
    """Return a number as the format writes it: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
