"""Exact CSV tokenizing: the cells and the physical line number of every record in a text.

A cell is quoted where its first character other than a blank is a quote; two quotes inside stand for one, and text
after the closing quote belongs to the cell. Blanks around a cell do not count. Source: RFC 4180, with what exports add.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

BLANKS = " \t\r"  # around a cell; a line feed may stand at the edge of a quoted one only


class Record(NamedTuple):
    """One record: the physical line it starts on, its cells, and where it begins and ends in the text.

    `stray_quote`: a cell would go on after a quoted part that spans lines. A quote that nobody meant to open looks like
    this; the record is then its first line only, so that the lines after it are read for themselves.
    """

    line: int
    cells: list[str]
    start: int
    end: int
    stray_quote: bool = False


class OpenQuote(Exception):  # noqa: N818 - it tells where to go on, it is not a failure by itself
    """The text ends inside a quoted cell of the record that begins at `start`, on `line`."""

    def __init__(self, line: int, start: int) -> None:
        super().__init__(line, start)
        self.line = line
        self.start = start


class Tokenizer:
    """Splits text into records at line feeds and into cells at `separator`."""

    def __init__(self, separator: str) -> None:
        blanks = re.escape(BLANKS.replace(separator, ""))
        self._blank_lines = re.compile(rf"(?:[{blanks}]*+\n)++")
        self._cell = re.compile(
            rf'(?:[{blanks}]*"(?P<quoted>[^"]*+(?:""[^"]*+)*+)(?P<close>"?))?(?P<plain>[^{re.escape(separator)}\n]*)'
        )

    def records(self, text: str, line: int) -> Iterator[Record]:
        """Yield the records of `text`, whose first line is number `line`; blank lines are no records.

        Raises OpenQuote where the text ends inside a quoted cell.
        """
        start = 0
        while start < len(text):
            if blank := self._blank_lines.match(text, start):
                line += text.count("\n", start, blank.end())
                start = blank.end()
                continue
            cells: list[str] = []
            stray_quote = False
            position = start - 1  # of the separator before the next cell
            while position < start or (position < len(text) and text[position] != "\n"):
                cell = self._cell.match(text, position + 1)
                assert cell is not None  # noqa: S101 - the pattern matches the empty text too
                quoted, close, plain = cell.group("quoted", "close", "plain")
                if quoted is not None and not close:
                    raise OpenQuote(line, start)
                if quoted and "\n" in quoted and plain.strip(BLANKS):
                    stray_quote = True
                    position = text.index("\n", start)
                    break
                cells.append(((quoted or "").replace('""', '"') + plain).strip(BLANKS + "\n"))
                position = cell.end()
            end = position + 1
            if stray_quote or len(cells) > 1 or text[start:end].strip(BLANKS + "\n"):
                yield Record(line, cells, start, min(end, len(text)), stray_quote)
            line += text.count("\n", start, end)
            start = end
