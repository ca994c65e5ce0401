"""The headers of .rar archives, of RAR 4 and RAR 5: what they announce, without unpacking it."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

#: First bytes, by the name that libarchive gives to the format.
SIGNATURES = {"rar5": b"Rar!\x1a\x07\x01\x00", "rar": b"Rar!\x1a\x07\x00"}

#: Bytes in the longest header that the format allows.
LONGEST_HEADER = 1 << 21


class Unreadable(Exception):
    """The reason, in a few words, why a way to read an archive failed."""


@dataclass
class Survey:
    """What the headers of one archive, or of one part of it, say."""

    format: str
    #: The CRC32 of every member that begins here; None where a header gives none.
    checksums: list[int | None] = field(default_factory=list)
    is_encrypted: bool = False
    is_solid: bool = False
    is_part: bool = False
    part: int = 0
    has_next_part: bool = False


def survey_of(path: Path) -> Survey:
    """Walk through the headers of an archive.

    Raises:
        OSError: it cannot be opened.
        Unreadable: it is no archive, damaged, or cut short.
    """
    with path.open("rb") as file:
        survey = Survey(_format(file))
        walk = _walk_rar5 if survey.format == "rar5" else _walk_rar4
        try:
            walk(file, survey)
        except struct.error:
            raise Unreadable("a header is too short") from None
        return survey


def _format(file: BinaryIO) -> str:
    """Return the format by its first bytes, and leave the file at the first header."""
    for name, signature in SIGNATURES.items():
        file.seek(0)
        if file.read(len(signature)) == signature:
            return name
    raise Unreadable("it is no .rar archive")


def _walk_rar5(file: BinaryIO, survey: Survey) -> None:
    """Fill in a survey; the end mark must be there unless the headers are encrypted."""
    kind = 0
    while kind != 5 and not survey.is_encrypted:
        header = io.BytesIO(_header_rar5(file))
        kind, flags = _number(header), _number(header)
        extra = _number(header) if flags & 1 else 0
        data = _number(header) if flags & 2 else 0
        if kind == 1:
            _note_main_rar5(header, survey)
        elif kind == 2:
            if not flags & 8:
                survey.checksums.append(_checksum_rar5(header))
            survey.is_encrypted = 1 in _records(header.getvalue()[-extra:] if extra else b"")
        elif kind == 4:
            survey.is_encrypted = True
        elif kind == 5:
            survey.has_next_part = bool(_number(header) & 1)
        _skip(file, data)


def _header_rar5(file: BinaryIO) -> bytes:
    start = file.read(4)
    place = file.tell()
    size = _number(file)
    before = file.tell() - place
    if size > LONGEST_HEADER:
        raise Unreadable("a header is damaged")
    file.seek(place)
    header = file.read(before + size)
    if struct.pack("<I", zlib.crc32(header)) != start:
        raise Unreadable("a header is damaged")
    return header[before:]


def _note_main_rar5(header: io.BytesIO, survey: Survey) -> None:
    flags = _number(header)
    survey.is_part, survey.is_solid = bool(flags & 1), bool(flags & 4)
    survey.part = _number(header) if flags & 2 else 0


def _checksum_rar5(header: io.BytesIO) -> int | None:
    flags, _size, _attributes = _number(header), _number(header), _number(header)
    if flags & 2:
        header.seek(4, os.SEEK_CUR)  # when it was changed
    return struct.unpack("<I", header.read(4))[0] if flags & 4 else None


def _records(extra: bytes) -> Iterator[int]:
    """Yield the kinds of the records in the extra area of a header."""
    area = io.BytesIO(extra)
    while area.tell() < len(extra):
        size = _number(area)
        after = area.tell() + size
        yield _number(area)
        area.seek(min(after, len(extra)))


def _number(file: BinaryIO) -> int:
    """Read a number: seven bits a byte, the lowest first."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise Unreadable("the end of the archive is missing")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise Unreadable("a header is damaged")


def _walk_rar4(file: BinaryIO, survey: Survey) -> None:
    """Fill in a survey; the end mark must be there unless the headers are encrypted."""
    kind = 0
    while kind != 0x7B and not survey.is_encrypted:
        kind, flags, fields = _header_rar4(file)
        data = struct.unpack_from("<I", fields)[0] if flags & 0x8000 else 0
        if kind == 0x73:
            survey.is_part, survey.is_solid = bool(flags & 1), bool(flags & 8)
            survey.is_encrypted = bool(flags & 0x80)
        elif kind == 0x74:
            if not flags & 1:
                survey.checksums.append(struct.unpack_from("<I", fields, 9)[0])
            survey.is_encrypted = bool(flags & 4)
            data += struct.unpack_from("<I", fields, 25)[0] << 32 if flags & 0x100 else 0
        elif kind == 0x7B:
            survey.has_next_part = bool(flags & 1)
            checksum = 4 if flags & 2 else 0
            survey.part = struct.unpack_from("<H", fields, checksum)[0] if flags & 8 else 0
        _skip(file, data)


def _header_rar4(file: BinaryIO) -> tuple[int, int, bytes]:
    start = file.read(7)
    if len(start) < 7:
        raise Unreadable("the end of the archive is missing")
    checksum, kind, flags, size = struct.unpack("<HBHH", start)
    fields = file.read(max(0, size - 7))
    if zlib.crc32(start[2:] + fields) & 0xFFFF != checksum:
        raise Unreadable("a header is damaged")
    return kind, flags, fields


def _skip(file: BinaryIO, count: int) -> None:
    if count > os.fstat(file.fileno()).st_size - file.tell():
        raise Unreadable("it ends inside of a member")
    file.seek(count, os.SEEK_CUR)
