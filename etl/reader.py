"""One CSV file -> Arrow batches of records, each with its physical line number, and the lines that are no records.

There are three ways to read a block of lines, of which each gives the same records as the next wherever it can read at
all:

- typed: Arrow's reader converts the cells while it parses them, where there is nothing wrong with any of them. A record
  with a list in which an item is no plain number becomes text again, so that its items are looked at one by one;
- text: Arrow's reader, where its row count proves that every row is one line;
- the tokenizer (etl/tokenizer.py), for line breaks or blanks around quotes, NUL bytes and blank lines.

What is not typed here is checked and converted cell by cell in etl/validate.py.
"""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import reduce
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from etl import id_lists
from etl.arrow import TYPES, ArrowParser, Parsed
from etl.contract import LINE_BYTES_MAX, VALUE_CHARS_MAX, FileCode, LineCode, Table, repeat_of
from etl.dialect import Dialect, Header, read_header, unterminated_quote
from etl.errors import BadInput
from etl.files import Source
from etl.lines import Lines, LongLine, whole_lines
from etl.tokenizer import BLANKS, OpenQuote, Record, Tokenizer

# A block that cannot be typed is cut into pieces of this size, so that a wrong cell slows down its neighbours only.
_PIECE_BYTES = 1 << 16


class Defect(NamedTuple):
    """A line that is no record; `line` is counted from 1."""

    line: int
    code: LineCode
    value: str


class Block(NamedTuple):
    """Records, each as values or as text, and the defects among them.

    Both have `line` and the contract's columns, null where a cell is empty: `typed` of typed_schema(), where every cell
    can be used, and `text` of text_schema().
    """

    typed: pa.RecordBatch
    text: pa.RecordBatch
    defects: list[Defect]


def text_schema(table: Table) -> pa.Schema:
    return pa.schema([("line", pa.int64()), *((name, pa.string()) for name in table.column_names)])


def typed_schema(table: Table) -> pa.Schema:
    """Of a list of ids also whether one occurs in it more than once."""
    columns = [("line", pa.int64())]
    for column in table.columns:
        if column.type == "id_list":
            columns += [(column.name, pa.list_(pa.int64())), (repeat_of(column.name), pa.bool_())]
        else:
            columns.append((column.name, TYPES[column.type]))
    return pa.schema(columns)


class Typed(NamedTuple):
    """Lines that Arrow could type: the records with their lists, and those that have to be looked at as text."""

    parsed: Parsed
    records: pa.RecordBatch
    as_text: pa.RecordBatch


class Reader:
    """Reads one file of the contract; `dialect` is known as soon as the first block was read.

    `keys_increase` tells whether every key so far is greater than the one before, so that none can occur twice; it is
    false too where they were not typed. Of a source that is a range, `header` is the file's. Raises BadInput with a
    file-level code.
    """

    dialect: Dialect

    def __init__(self, source: Source, *, parsers: int = 1, header: Header | None = None) -> None:
        self._source = source
        self._parsers = parsers
        self._name = source.name
        self._table = source.table
        self._header: list[str] = []
        self.first_key: int | None = None
        self.last_key: int | None = None
        self.keys_increase = True
        if header:
            self._follow_header(header)

    def blocks(self) -> Iterator[Block]:
        """Yield the file's records in file order; `parsers` threads parse ahead of who takes them."""
        unread: Lines | None = None  # from the start of a record whose quote is still open
        with ThreadPoolExecutor(self._parsers, thread_name_prefix="parser") as pool:
            for lines, typed in self._read_ahead(pool):
                if isinstance(lines, LongLine):
                    self._refuse_open_quote(unread)
                    yield self._long_line(lines)
                else:
                    unread = yield from self._read_records(lines, unread, typed)
        self._refuse_open_quote(unread)
        if not self._header:
            raise BadInput(
                FileCode.EMPTY_FILE, f"{self._name}: the file has no header: all its lines are blank or too long"
            )

    def _read_ahead(self, pool: Executor) -> Iterator[tuple[Lines | LongLine, "Future[Typed | None] | None"]]:
        """Yield the lines below the header, of many also what comes of typing them."""
        waiting: deque[tuple[Lines | LongLine, Future[Typed | None] | None]] = deque()
        error: BadInput | None = None
        try:
            for lines in whole_lines(self._source):
                typed = None
                if isinstance(lines, Lines):
                    if not self._header:
                        lines = self._read_header(lines)
                    if len(lines.content) > _PIECE_BYTES:
                        typed = pool.submit(self._typed, lines)
                waiting.append((lines, typed))
                if len(waiting) > self._parsers:
                    yield waiting.popleft()
        except BadInput as found:
            error = found
        yield from waiting
        if error:  # what is wrong further up in the file comes first
            raise error

    def _refuse_open_quote(self, unread: Lines | None, bytes_max: int = 0) -> None:
        if unread and len(unread.content) > bytes_max:
            raise unterminated_quote(self._name, unread.line)

    def _long_line(self, lines: LongLine) -> Block:
        defect = _defect(lines.line, LineCode.LINE_TOO_LONG, lines.start.decode(errors="replace"))
        return self._text_block([], [defect])

    def _read_header(self, lines: Lines) -> Lines:
        header, rest = read_header(self._name, self._table, lines)
        if header:
            self._follow_header(header)
        return rest

    def _follow_header(self, header: Header) -> None:
        self.dialect, self._header = header.dialect, header.columns
        self._arrow = ArrowParser(self._table, header.columns, header.dialect.separator)
        self._tokenizer = Tokenizer(header.dialect.separator)

    def _read_records(
        self, lines: Lines, unread: Lines | None, typed: "Future[Typed | None] | None"
    ) -> Generator[Block, None, Lines | None]:
        """Yield the records of `unread` and `lines` together; return what is still unread."""
        if not unread and typed and (records := typed.result()):
            yield self._typed_block(lines, records)
            return None
        for piece in _pieces(lines):
            self._refuse_open_quote(unread, LINE_BYTES_MAX)
            if unread:
                piece = Lines(unread.line, unread.content + piece.content)
            block, unread = self._read_piece(piece)
            yield block
        return unread

    def _read_piece(self, lines: Lines) -> tuple[Block, Lines | None]:
        if typed := self._typed(lines):
            return self._typed_block(lines, typed), None
        if parsed := self._arrow.text(lines):
            return self._text_block([parsed.lines, *parsed.columns], self._defects_among(lines, parsed)), None
        return self._tokenize(lines)

    # Arrow's ways

    def _typed(self, lines: Lines) -> Typed | None:
        parsed = self._arrow.typed(lines)
        if not parsed:
            return None
        records = pa.RecordBatch.from_arrays([parsed.lines, *parsed.columns], names=["line", *self._table.column_names])
        return Typed(parsed, *_with_lists(self._table, records))

    def _typed_block(self, lines: Lines, typed: Typed) -> Block:
        self._follow_keys(typed.parsed.columns[self._table.column_names.index(self._table.key)])
        return Block(typed.records, typed.as_text, self._defects_among(lines, typed.parsed))

    def _follow_keys(self, column: pa.Array) -> None:
        keys = column.to_numpy()
        if len(keys):
            follows = self.last_key is None or keys[0] > self.last_key
            self.keys_increase = self.keys_increase and bool(follows and (keys[1:] > keys[:-1]).all())
            self.first_key = int(keys[0]) if self.first_key is None else self.first_key
            self.last_key = int(keys[-1])

    def _defects_among(self, lines: Lines, parsed: Parsed) -> list[Defect]:
        rows = len(parsed.lines) + len(parsed.wrong)
        last = 0 if lines.content.endswith(b"\n") else rows
        return [
            self._wrong_field_count(lines.line + row.number - 1, row.actual_columns, row.text, last=row.number == last)
            for row in parsed.wrong
            if row.actual_columns > 1 or row.text.strip(BLANKS)
        ]

    # The tokenizer's way

    def _tokenize(self, lines: Lines) -> tuple[Block, Lines | None]:
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
        return self._text_block([list(column) for column in zip(*rows, strict=True)], defects), unread

    def _defect_of(self, record: Record, text: str) -> Defect | None:
        line = text[record.start : record.end].rstrip("\r\n")
        if "\0" in line:
            return _defect(record.line, LineCode.NUL_BYTE, line)
        if record.stray_quote:
            return _defect(record.line, LineCode.STRAY_QUOTE, line)
        if "\n" in line and len(line.encode()) > LINE_BYTES_MAX:
            raise unterminated_quote(self._name, record.line)
        if len(record.cells) != len(self._header):
            return self._wrong_field_count(record.line, len(record.cells), line, last=text[record.end - 1] != "\n")
        return None

    def _wrong_field_count(self, line: int, fields: int, text: str, *, last: bool) -> Defect:
        """`last`: the line is the file's last one and has no line feed, so too few fields mean that it was cut off."""
        truncated = last and fields < len(self._header)
        return _defect(line, LineCode.TRUNCATED if truncated else LineCode.WRONG_FIELD_COUNT, text)

    def _text_block(self, columns: Sequence[pa.Array | list[str | int | None]], defects: list[Defect]) -> Block:
        """No columns stand for no records."""
        schema = text_schema(self._table)
        filled = columns or [[]] * len(schema)
        arrays = [pa.array(column, type_) for column, type_ in zip(filled, schema.types, strict=True)]
        self.keys_increase = self.keys_increase and not len(arrays[0])
        return Block(_none(typed_schema(self._table)), pa.RecordBatch.from_arrays(arrays, schema=schema), defects)


def _with_lists(table: Table, records: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Convert the lists of typed records; the second value are those whose items have to be looked at, as text."""
    lists = {column.name: id_lists.parse(records[column.name]) for column in table.columns if column.type == "id_list"}
    marked = [of.plain for of in lists.values() if of.plain is not None]
    if marked:
        plain = reduce(pc.and_, marked)
        typed, _ = _with_lists(table, records.filter(plain))
        return typed, records.filter(pc.invert(plain)).cast(text_schema(table))
    columns: list[pa.Array] = [records["line"]]
    for name in table.column_names:
        columns += [lists[name].lists, lists[name].repeat] if name in lists else [records[name]]
    return pa.RecordBatch.from_arrays(columns, schema=typed_schema(table)), _none(text_schema(table))


def _none(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)


def _pieces(lines: Lines) -> Iterator[Lines]:
    """Cut lines into pieces of about _PIECE_BYTES."""
    line, start, content = lines.line, 0, lines.content
    while start < len(content):
        end = content.find(b"\n", start + _PIECE_BYTES) + 1 or len(content)
        yield Lines(line, content[start:end])
        line += content.count(b"\n", start, end)
        start = end


def _defect(line: int, code: LineCode, text: str) -> Defect:
    return Defect(line, code, text[:VALUE_CHARS_MAX].replace("\0", "\\0"))
