"""Arrow's CSV reader on a block of lines, where its row count proves that every row is one line."""

import codecs
from datetime import date
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from pyarrow.csv import InvalidRow

from etl.contract import FIRST_DATE, Column, Table
from etl.lines import Lines
from etl.tokenizer import BLANKS

TYPES = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "date": pa.date32(),
    "text": pa.string(),
    "id_list": pa.string(),
}
_TEXT = dict.fromkeys(TYPES, pa.string())

# The last row of every block is ours: a quote that is still open before it would swallow it, and a row be missing.
_GUARD = {"integer": "0", "number": "0", "date": "2000-01-01", "text": "x", "id_list": "0"}

# A block with more of them is refused, for each is a Python object and the block may be large.
_WRONG_ROWS_MAX = 1 << 16


class Parsed(NamedTuple):
    """The line of each record, the contract's columns (null where empty), and the rows with another number of fields.

    A row's `number` counts from 1, and all lines of the block count.
    """

    lines: pa.Array
    columns: list[pa.Array]
    wrong: list[InvalidRow]


class ArrowParser:
    """Parses lines of one file, whose columns are `header`."""

    def __init__(self, table: Table, header: list[str], separator: str) -> None:
        known = {column.name: column for column in table.columns}
        columns = [known.get(name) for name in header]
        self._table = table
        self._separator = separator
        self._names = [column.name if column else f"#{at}" for at, column in enumerate(columns)]
        guard = separator.join(_GUARD[column.type] if column else "" for column in columns)
        self._guard = guard.encode() + b"\n"

    def typed(self, lines: Lines) -> Parsed | None:
        """Parse and convert lines, but lists of ids; None where a cell cannot be used or a row may not be a line."""
        if _may_be_hexadecimal(lines.content):  # Arrow takes 0x10 for a number
            return None
        # A blank line becomes an empty record, which has no key.
        parsed = self._parse(lines, TYPES)
        return parsed if parsed and all(map(_is_usable, self._table.columns, parsed.columns)) else None

    def text(self, lines: Lines) -> Parsed | None:
        """Parse lines into cells of text; None where one is blank or a row may not be a line."""
        if lines.content.startswith((b"\n", b"\r")) or b"\n\n" in lines.content or b"\n\r" in lines.content:
            return None
        return self._parse(lines, _TEXT)

    def _parse(self, lines: Lines, types: dict[str, pa.DataType]) -> Parsed | None:
        content = lines.content
        quoted = b'"' in content
        if (
            b"\0" in content
            or content.startswith(codecs.BOM_UTF8)  # Arrow drops it, wherever in the file the block is from
            or (b"\r" in content and content.count(b"\r") != content.count(b"\r\n"))
            or (quoted and (b' "' in content or b'\t"' in content))
        ):
            return None
        padded = b" " in content or b"\t" in content
        content += (b"" if content.endswith(b"\n") else b"\n") + self._guard
        wrong: list[InvalidRow] = []
        try:
            cells = self._read(content, types, quoted, wrong)
        except pa.ArrowInvalid:
            return None
        rows = cells.num_rows + len(wrong)
        if rows != np.count_nonzero(np.frombuffer(content, np.uint8) == ord("\n")):  # ten times as fast as count()
            return None
        numbers = np.delete(np.arange(lines.line, lines.line + rows - 1), [row.number - 1 for row in wrong])
        columns = [column.chunk(0).slice(0, len(numbers)) for column in cells.columns]
        if padded:
            columns = [_trimmed(column) if column.type == pa.string() else column for column in columns]
        return Parsed(pa.array(numbers, pa.int64()), columns, wrong)

    def _read(self, content: bytes, types: dict[str, pa.DataType], quoted: bool, wrong: list[InvalidRow]) -> pa.Table:
        def skip(row: InvalidRow) -> str:
            wrong.append(row)
            return "skip" if len(wrong) <= _WRONG_ROWS_MAX else "error"

        return pyarrow.csv.read_csv(
            pa.py_buffer(content),
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False, block_size=len(content) + 1, column_names=self._names
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=self._separator,
                quote_char='"' if quoted else False,
                ignore_empty_lines=False,
                invalid_row_handler=skip,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                check_utf8=False,  # whole_lines() has
                column_types={column.name: types[column.type] for column in self._table.columns},
                include_columns=self._table.column_names,
                strings_can_be_null=True,
                null_values=[""],
            ),
        )


def _may_be_hexadecimal(content: bytes) -> bool:
    # Looking for one byte is twenty times as fast as looking for two.
    return (b"x" in content and b"0x" in content) or (b"X" in content and b"0X" in content)


def _is_usable(column: Column, cells: pa.Array) -> bool:
    """Tell whether every cell of a typed column is what the contract wants."""
    if cells.null_count and column.required:
        return False
    match column.type:
        case "number":
            outside = pc.invert(pc.is_finite(cells))
            if column.minimum is not None:
                outside = pc.or_(outside, pc.less(cells, float(column.minimum)))
            return not pc.any(outside).as_py()
        case "date":
            first = pa.scalar(date.fromisoformat(FIRST_DATE), pa.date32())
            return not pc.any(pc.less(cells, first)).as_py()
    return True


def _trimmed(column: pa.Array) -> pa.Array:
    trimmed = pc.utf8_trim(column, characters=BLANKS)
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)
