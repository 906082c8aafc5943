"""A file's content as whole lines: physical line numbers, valid UTF-8, bounded memory however long a line is."""

import codecs
from collections.abc import Iterator
from typing import NamedTuple

from etl.contract import LINE_BYTES_MAX, FileCode
from etl.errors import BadInput
from etl.files import Source

_UTF16_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LONG_LINE_START = 1000  # bytes kept of a line that is too long


class Lines(NamedTuple):
    """Whole lines, the first of which is number `line`; only the file's last one may lack its line feed."""

    line: int
    content: bytes


class LongLine(NamedTuple):
    """The start of one line longer than LINE_BYTES_MAX."""

    line: int
    start: bytes


def whole_lines(source: Source) -> Iterator[Lines | LongLine]:
    """Yield everything in the file, or the source's range of it, in order.

    Raises BadInput (`encoding`) with the byte offset of what is not UTF-8.
    """
    line, offset = (source.range.line, source.range.start) if source.range else (1, 0)
    pending, long_start = b"", b""
    for block in source.content():
        content = pending + block
        if long_start:
            end = content.find(b"\n") + 1
            if not end:
                offset += len(content)
                continue
            yield LongLine(line, long_start)
            line, offset, long_start, content = line + 1, offset + end, b"", content[end:]
        end = content.rfind(b"\n") + 1
        content, pending = content[:end], content[end:]
        _check_encoding(source.name, content, offset)
        yield from _split(line, content)
        line += content.count(b"\n")
        offset += len(content)
        if len(pending) > LINE_BYTES_MAX:
            long_start, pending, offset = pending[:_LONG_LINE_START], b"", offset + len(pending)
    if long_start:
        yield LongLine(line, long_start)
    elif pending:
        _check_encoding(source.name, pending, offset)
        yield Lines(line, pending)


def _split(line: int, content: bytes) -> Iterator[Lines | LongLine]:
    """Separate the lines that are too long from the others: one step per LINE_BYTES_MAX, not one per line."""
    start = checked = 0
    while checked < len(content):
        end = content.rfind(b"\n", checked, checked + LINE_BYTES_MAX + 1) + 1
        if end:
            checked = end
            continue
        if start < checked:
            yield Lines(line, content[start:checked])
            line += content.count(b"\n", start, checked)
        yield LongLine(line, content[checked : checked + _LONG_LINE_START])
        line += 1
        start = checked = content.index(b"\n", checked) + 1
    if start < len(content):
        yield Lines(line, content[start:])


def _check_encoding(name: str, content: bytes, offset: int) -> None:
    if offset == 0 and content.startswith(_UTF16_BOMS):
        raise BadInput(FileCode.ENCODING, f"{name}: the file is UTF-16 (byte offset 0); only UTF-8 is read")
    if content.isascii():
        return
    try:
        content.decode()
    except UnicodeDecodeError as error:
        at = offset + error.start
        raise BadInput(FileCode.ENCODING, f"{name}: not UTF-8 at byte offset {at} ({error.reason})") from error
