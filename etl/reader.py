"""One CSV file -> Arrow batches of text cells, each with its physical line number, and the lines that are no records.

Blocks of lines go through Arrow's CSV reader where its row count proves that every row is one line; any other block
(line breaks or blanks around quotes, NUL bytes, blank lines, lone carriage returns) goes through etl/tokenizer.py,
which gives the same cells for everything that both can read.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from etl.contract import LINE_BYTES_MAX, VALUE_CHARS_MAX, FileCode, LineCode, Table
from etl.dialect import Dialect, read_header, unterminated_quote
from etl.errors import BadInput
from etl.files import Source
from etl.lines import Lines, LongLine, whole_lines
from etl.tokenizer import BLANKS, OpenQuote, Record, Tokenizer

_GUARD = "\x1a"


class Defect(NamedTuple):
    """A line that is no record; `line` is counted from 1."""

    line: int
    code: LineCode
    value: str


class Block(NamedTuple):
    """Records (`line` and the contract's columns as text, null where empty) and the defects among them."""

    records: pa.RecordBatch
    defects: list[Defect]


def records_schema(table: Table) -> pa.Schema:
    return pa.schema([("line", pa.int64()), *((name, pa.string()) for name in table.column_names)])


class Reader:
    """Reads one file of the contract; `dialect` is known as soon as the first block was read.

    Raises BadInput with a file-level code.
    """

    dialect: Dialect

    def __init__(self, source: Source) -> None:
        self._source = source
        self._name = source.name
        self._table = source.table
        self._schema = records_schema(source.table)
        self._header: list[str] = []

    def blocks(self) -> Iterator[Block]:
        """Yield the file's records in file order."""
        unread: Lines | None = None  # from the start of a record whose quote is still open
        for lines in whole_lines(self._source):
            if unread and (isinstance(lines, LongLine) or len(unread.content) > LINE_BYTES_MAX):
                raise unterminated_quote(self._name, unread.line)
            if isinstance(lines, LongLine):
                yield self._block(
                    [], [_defect(lines.line, LineCode.LINE_TOO_LONG, lines.start.decode(errors="replace"))]
                )
                continue
            if unread:
                lines = Lines(unread.line, unread.content + lines.content)
            if not self._header:
                lines = self._read_header(lines)
            if not lines.content:
                continue
            block, unread = self._read_records(lines)
            yield block
        if unread:
            raise unterminated_quote(self._name, unread.line)
        if not self._header:
            raise BadInput(
                FileCode.EMPTY_FILE, f"{self._name}: the file has no header: all its lines are blank or too long"
            )

    def _read_header(self, lines: Lines) -> Lines:
        header, rest = read_header(self._name, self._table, lines)
        if header:
            self.dialect, self._header = header.dialect, header.columns
            self._tokenizer = Tokenizer(header.dialect.separator)
        return rest

    def _read_records(self, lines: Lines) -> tuple[Block, Lines | None]:
        block = self._read_simple(lines)
        return (block, None) if block else self._read_any(lines)

    # Arrow's reader

    def _read_simple(self, lines: Lines) -> Block | None:
        """Parse lines of which each is a record of its own; None where that is not certain."""
        content = lines.content
        quoted = b'"' in content
        if (
            b"\0" in content
            or content.startswith((b"\n", b"\r"))
            or b"\n\n" in content
            or b"\n\r" in content
            or content.count(b"\r") != content.count(b"\r\n")
            or (quoted and (b' "' in content or b'\t"' in content))
        ):
            return None
        # The last row is ours: a quote that is still open before it would swallow it, and a row would be missing.
        guard = self.dialect.separator.join([_GUARD] * len(self._header)).encode() + b"\n"
        content += guard if content.endswith(b"\n") else b"\n" + guard
        wrong: list[pyarrow.csv.InvalidRow] = []
        try:
            cells = self._read_with_arrow(content, quoted, wrong)
        except pa.ArrowInvalid:
            return None
        rows = cells.num_rows + len(wrong)
        if rows != content.count(b"\n"):
            return None
        numbers = np.delete(np.arange(lines.line, lines.line + rows - 1), [row.number - 1 for row in wrong])
        columns = [column.chunk(0).slice(0, len(numbers)) for column in cells.columns]
        if b" " in content or b"\t" in content:
            columns = [_trimmed(column) for column in columns]
        last = rows - 1 if not lines.content.endswith(b"\n") else 0
        defects = [
            self._wrong_field_count(lines.line + row.number - 1, row.actual_columns, row.text, last=row.number == last)
            for row in wrong
            if row.actual_columns > 1 or row.text.strip(BLANKS)
        ]
        return self._block([pa.array(numbers, pa.int64()), *columns], defects)

    def _read_with_arrow(self, content: bytes, quoted: bool, wrong: list[pyarrow.csv.InvalidRow]) -> pa.Table:
        def skip(row: pyarrow.csv.InvalidRow) -> str:
            wrong.append(row)
            return "skip"

        names = [name if name in self._table.column_names else f"#{at}" for at, name in enumerate(self._header)]
        return pyarrow.csv.read_csv(
            pa.py_buffer(content),
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=len(content) + 1, column_names=names),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=self.dialect.separator,
                quote_char='"' if quoted else False,
                ignore_empty_lines=False,
                invalid_row_handler=skip,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(self._table.column_names, pa.string()),
                include_columns=self._table.column_names,
                strings_can_be_null=True,
                null_values=[""],
            ),
        )

    # The tokenizer

    def _read_any(self, lines: Lines) -> tuple[Block, Lines | None]:
        """Parse any lines; the second value is what remains from a quote on that is still open."""
        text = lines.content.decode()
        places = [self._header.index(name) for name in self._table.column_names]
        rows: list[list[str | int | None]] = []
        defects: list[Defect] = []
        unread = None
        try:
            for record in self._tokenizer.records(text, lines.line):
                defect = self._defect_of(record, text)
                if defect:
                    defects.append(defect)
                else:
                    rows.append([record.line, *(record.cells[place] or None for place in places)])
        except OpenQuote as error:
            unread = Lines(error.line, text[error.start :].encode())
        columns = zip(*rows, strict=True) if rows else [[]] * len(self._schema)
        arrays = [pa.array(list(column), type_) for column, type_ in zip(columns, self._schema.types, strict=True)]
        return self._block(arrays, defects), unread

    def _defect_of(self, record: Record, text: str) -> Defect | None:
        line = text[record.start : record.end].rstrip("\r\n")
        if "\0" in line:
            return _defect(record.line, LineCode.NUL_BYTE, line)
        if record.stray_quote:
            return _defect(record.line, LineCode.STRAY_QUOTE, line)
        if record.end - record.start > LINE_BYTES_MAX:
            return _defect(record.line, LineCode.LINE_TOO_LONG, line)
        if len(record.cells) != len(self._header):
            return self._wrong_field_count(record.line, len(record.cells), line, last=text[record.end - 1] != "\n")
        return None

    def _wrong_field_count(self, line: int, fields: int, text: str, *, last: bool) -> Defect:
        """`last`: the line is the file's last one and has no line feed, so too few fields mean that it was cut off."""
        truncated = last and fields < len(self._header)
        return _defect(line, LineCode.TRUNCATED if truncated else LineCode.WRONG_FIELD_COUNT, text)

    def _block(self, columns: list[pa.Array], defects: list[Defect]) -> Block:
        columns = columns or [pa.array([], type_) for type_ in self._schema.types]
        return Block(pa.RecordBatch.from_arrays(columns, schema=self._schema), defects)


def _defect(line: int, code: LineCode, text: str) -> Defect:
    return Defect(line, code, text[:VALUE_CHARS_MAX].replace("\0", "\\0"))


def _trimmed(column: pa.Array) -> pa.Array:
    trimmed = pc.utf8_trim(column, characters=BLANKS)
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)
