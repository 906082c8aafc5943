"""A large file cut into ranges of whole lines, which many readers can read at once.

Without a quote in it, every line feed ends a line. Each piece of the file is looked at first, by anybody; where its
lines begin, and with which number, then follows from the pieces before.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from etl.dialect import Header, read_header
from etl.errors import BadInput
from etl.files import Range, Source
from etl.lines import Lines, whole_lines

RANGE_BYTES = 64 << 20


@dataclass(frozen=True)
class Look:
    """What is in a piece: how many line feeds, the number of bytes up to the first and to the last, and any quote."""

    line_feeds: int
    first: int | None
    last: int | None
    is_quoted: bool


@dataclass(frozen=True)
class Keys:
    """The keys of a range, in their order; None where there are none."""

    increase: bool
    first: int | None
    last: int | None


def pieces(size: int) -> list[Range]:
    """Cut a file of that size anywhere; a piece has no line of its own yet."""
    return [Range(start, min(start + RANGE_BYTES, size), 0) for start in range(0, size, RANGE_BYTES)]


def look(source: Source) -> Look:
    """Look at a source that is a piece."""
    line_feeds, done, first, last, is_quoted = 0, 0, None, None, False
    for block in source.content():
        if (at := block.rfind(b"\n")) >= 0:
            first, last = first or done + block.find(b"\n") + 1, done + at + 1
        is_quoted = is_quoted or b'"' in block
        line_feeds += int(np.count_nonzero(np.frombuffer(block, np.uint8) == ord("\n")))
        done += len(block)
    return Look(line_feeds, first, last, is_quoted)


def header_of(source: Source) -> tuple[Header, int] | None:
    """Return the header and where it ends, if it is in the first lines of the file and nothing is wrong with it."""
    with suppress(BadInput):  # who reads the file will say so
        lines = next(whole_lines(source), None)
        if isinstance(lines, Lines):
            header, rest = read_header(source.name, source.table, lines)
            return (header, len(lines.content) - len(rest.content)) if header else None
    return None


def ranges(places: Sequence[Range], looks: Sequence[Look], header_end: int) -> list[Range]:
    """Move the borders of the pieces to the next line below the header, and number the lines.

    Where there is a quote, all is one range.
    """
    end = places[-1].end
    if any(look.is_quoted for look in looks):
        return [Range(0, end, 1)]
    starts = [(0, 1), *((start, line) for start, line in _starts(places, looks) if start >= header_end)]
    ends = [start for start, _ in starts[1:]] + [end]
    return [Range(start, end, line) for (start, line), end in zip(starts, ends, strict=True) if start < end]


def _starts(places: Sequence[Range], looks: Sequence[Look]) -> Iterator[tuple[int, int]]:
    line_feeds = looks[0].line_feeds
    for piece, seen in zip(places[1:], looks[1:], strict=True):
        if seen.first is not None:
            yield piece.start + seen.first, line_feeds + 2
        line_feeds += seen.line_feeds


def fit(cut: Sequence[Range], looks: Sequence[Look]) -> bool:
    """Tell whether these ranges, as they look now, are whole lines with those numbers."""
    line = 1
    for range_, seen in zip(cut, looks, strict=True):
        is_whole = range_ == cut[-1] or seen.last == range_.end - range_.start
        if seen.is_quoted or not is_whole or range_.line != line:
            return False
        line += seen.line_feeds
    return True


def keys_increase(of_ranges: Sequence[Keys]) -> bool:
    """Tell of the whole file, as Reader does."""
    present = [keys for keys in of_ranges if keys.first is not None]
    follow = all(
        before.last is not None and after.first is not None and before.last < after.first
        for before, after in pairwise(present)
    )
    return follow and all(keys.increase for keys in of_ranges)
