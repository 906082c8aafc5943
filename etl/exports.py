"""A table as a file: CSV, Parquet or an Excel workbook, written batch by batch.

What a file holds must not run when somebody opens it in a spreadsheet.
"""

import re
from collections.abc import Callable
from typing import IO, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from etl.workbook import Workbook

# OWASP, CSV Injection: what begins with one of these is read as a formula. The last four are full-width. OWASP's line
# ends are harmless by themselves: what comes after one begins a row.
_FORMULA = tuple("=+-@\t\uff1d\uff0b\uff0d\uff20")
_BEGINS_CELL = re.compile(r"([;\r\n])")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MAY_RUN = r"(?:^|[;\r\n])[=+\-@\t\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}]"


class Writer(Protocol):
    """Writes the batches of a table; only a file that was closed is whole."""

    def write(self, batch: pa.RecordBatch) -> None: ...

    def close(self) -> None: ...


class Csv:
    """RFC 4180; a list has semicolons between its items, and a text a single quote before what would run.

    Where a comma is written in numbers, a spreadsheet takes the semicolon for the separator and begins a cell there;
    the quotes around a text are then within a cell, and a line end in it begins a row.
    """

    def __init__(self, sink: IO[bytes], schema: pa.Schema) -> None:
        options = pyarrow.csv.WriteOptions(eol="\r\n", quoting_header="none")
        self._file = pyarrow.csv.CSVWriter(sink, _flat_schema(schema), write_options=options)

    def write(self, batch: pa.RecordBatch) -> None:
        columns = [_harmless(column) if column.type == pa.string() else column for column in _flat(batch).columns]
        self._file.write_batch(pa.RecordBatch.from_arrays(columns, schema=_flat_schema(batch.schema)))

    def close(self) -> None:
        self._file.close()


class Parquet:
    """Compressed with Snappy, which every reader knows."""

    def __init__(self, sink: IO[bytes], schema: pa.Schema) -> None:
        self._file = pyarrow.parquet.ParquetWriter(sink, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        self._file.write_batch(batch)

    def close(self) -> None:
        self._file.close()


class Xlsx:
    """A workbook; what is neither a number nor a date that Excel has is text, lists as in CSV."""

    def __init__(self, sink: IO[bytes], schema: pa.Schema) -> None:
        self._file = Workbook(sink, schema.names)

    def write(self, batch: pa.RecordBatch) -> None:
        self._file.write(_flat(batch))

    def close(self) -> None:
        self._file.close()


WRITERS: dict[str, Callable[[IO[bytes], pa.Schema], Writer]] = {"csv": Csv, "parquet": Parquet, "xlsx": Xlsx}


def _flat_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema([(field.name, pa.string() if pa.types.is_list(field.type) else field.type) for field in schema])


def _flat(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the batch with lists as text."""
    columns = [
        pc.binary_join(pc.cast(column, pa.list_(pa.string())), ";") if pa.types.is_list(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=_flat_schema(batch.schema))


def _harmless(column: pa.StringArray) -> pa.StringArray:
    may_run = pc.fill_null(pc.match_substring_regex(column, _MAY_RUN), False)
    if not pc.any(may_run).as_py():
        return column
    texts = [harmless(text) for text in column.filter(may_run).to_pylist()]
    return pc.replace_with_mask(column, may_run, pa.array(texts, pa.string()))


def harmless(text: str) -> str:
    """Return the text with a single quote before what a spreadsheet would run; numbers as they are."""
    return "".join(f"'{part}" if _runs(part) else part for part in _BEGINS_CELL.split(text))


def _runs(text: str) -> bool:
    return text.startswith(_FORMULA) and not _NUMBER.fullmatch(text)
