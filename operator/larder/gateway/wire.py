"""Protobuf's wire format as far as a gateway reads it: messages are scanned field by field and never copied whole.

Every function raises InvalidInputError on a malformed message.
"""

from collections.abc import Iterator
from typing import Final

from larder.errors import InvalidInputError

VARINT: Final = 0
BYTES: Final = 2
_LONGEST_VARINT_BYTES: Final = 10


def fields(message: bytes | memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield (field, wire type, value) of the top level; a varint's value is its bytes as encoded."""
    data = memoryview(message)
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        field, kind = tag >> 3, tag & 7
        start, end = _extent(data, at, kind)
        if field == 0 or end > len(data):
            raise _malformed()
        yield field, kind, data[start:end]
        at = end


def text(value: memoryview) -> str:
    """Return a string field."""
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise InvalidInputError("request message", bytes(value[:40]), "names must be UTF-8") from error


def parameters(message: bytes | memoryview, number: int) -> Iterator[tuple[bytes, memoryview]]:
    """Yield key and InferParameter of each entry of the map in field `number`."""
    for field, kind, entry in fields(message):
        if field == number and kind == BYTES:
            parts = {number: value for number, kind, value in fields(entry) if kind == BYTES}
            yield bytes(parts.get(1, b"")), parts.get(2, memoryview(b""))


def integer(message: memoryview, *numbers: int) -> int | None:
    """Return the first varint in one of these fields."""
    for field, kind, value in fields(message):
        if field in numbers and kind == VARINT:
            return _varint(value, 0)[0]
    return None


def _malformed() -> InvalidInputError:
    return InvalidInputError("request message", "malformed protobuf", "it must be a message of the V2 protocol")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for index in range(_LONGEST_VARINT_BYTES):
        if at + index >= len(data):
            raise _malformed()
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at + index + 1
    raise _malformed()


def _extent(data: memoryview, at: int, kind: int) -> tuple[int, int]:
    match kind:
        case 0:
            return at, _varint(data, at)[1]
        case 1:
            return at, at + 8
        case 2:
            length, start = _varint(data, at)
            return start, start + length
        case 5:
            return at, at + 4
    raise _malformed()
