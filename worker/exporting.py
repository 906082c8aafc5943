"""`python -m worker.exporting`: writes the table that worker/exports.py asks for to its output, as a file."""

import io
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any

import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from psycopg2.extensions import connection as Connection  # noqa: N812 - psycopg2 writes its class in lower case

from etl.exports import WRITERS
from worker import memory
from worker.database import CONNECT_TIMEOUT_S

# A reader who is slower than this would keep others from exporting.
TIME_LIMIT_S = 3600

# What is read at once; a transaction lasts no longer.
_PAGE_ROWS, _PAGE_BYTES = 50_000, 8 << 20

_IDS = pa.list_(pa.int64())

# By the object ids of Postgres's types: boolean, bigint, text, double precision, date, bigint[], timestamptz, uuid.
_TYPES = {
    16: pa.bool_(),
    20: pa.int64(),
    25: pa.string(),
    701: pa.float64(),
    1082: pa.date32(),
    1016: _IDS,
    1184: pa.timestamp("us", "UTC"),
    2950: pa.string(),
}


class Gone(Exception):  # noqa: N818
    """Rows have gone while they were read."""


class _Full(Exception):  # noqa: N818
    """A page has enough bytes; the next one goes on from its last row."""


class _Page(io.BytesIO):
    """Receives COPY, row by row."""

    def write(self, row: Any) -> int:
        written = super().write(row)
        if self.tell() > _PAGE_BYTES:
            raise _Full
        return written


def export(asked: dict[str, Any], sink: IO[bytes]) -> None:
    """Write the file. Raises Gone; then, and when anything fails, the file has no end."""
    options = f"-c timezone=UTC -c datestyle=ISO -c statement_timeout={TIME_LIMIT_S}s"
    connection = psycopg2.connect(
        asked["database_url"], connect_timeout=CONNECT_TIMEOUT_S, application_name="experiment-etl", options=options
    )
    connection.autocommit = True
    table = asked["table"]
    schema = _schema(connection, table)
    writer = WRITERS[asked["format"]](sink, schema.remove(0))
    for page in _pages(connection, table, schema):
        writer.write(page)
        sink.flush()
    with connection.cursor() as cursor:
        cursor.execute(table["intact"], table["values"])
        if cursor.fetchone() != (True,):
            raise Gone("rows have gone while they were read")
    writer.close()
    sink.flush()


def _schema(connection: Connection, table: dict[str, Any]) -> pa.Schema:
    with connection.cursor() as cursor:
        cursor.execute(table["page"], table["values"] | {"after": None, "limit": 0})
        return pa.schema([(column.name, _TYPES[column.type_code]) for column in cursor.description or ()])


def _pages(connection: Connection, table: dict[str, Any], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    after = None
    while data := _copied(connection, table, after):
        rows = _parsed(data, schema)
        after = rows.column(0)[-1].as_py()
        yield rows.remove_column(0)


def _copied(connection: Connection, table: dict[str, Any], after: int | None) -> bytes:
    page = _Page()
    with connection.cursor() as cursor:
        query = cursor.mogrify(table["page"], table["values"] | {"after": after, "limit": _PAGE_ROWS}).decode()
        with suppress(_Full):
            cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT csv)", page)
    return page.getvalue()


def _parsed(data: bytes, schema: pa.Schema) -> pa.RecordBatch:
    types = [pa.string() if type_ == _IDS else type_ for type_ in schema.types]
    table = pyarrow.csv.read_csv(
        pa.py_buffer(data),
        pyarrow.csv.ReadOptions(column_names=schema.names, block_size=len(data) + 1, use_threads=False),
        pyarrow.csv.ParseOptions(newlines_in_values=True),
        pyarrow.csv.ConvertOptions(
            column_types=dict(zip(schema.names, types, strict=True)),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
        ),
    )
    [rows] = table.combine_chunks().to_batches()
    columns = [
        _ids(column) if type_ == _IDS else column for column, type_ in zip(rows.columns, schema.types, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _ids(texts: pa.StringArray) -> pa.ListArray:
    """Read lists as Postgres writes them: {1,2}."""
    items = pc.utf8_trim(texts, "{}")
    is_empty = pc.equal(items, "")
    lists = pc.cast(pc.split_pattern(pc.if_else(is_empty, "0", items), ","), _IDS)
    return pc.if_else(is_empty, pa.scalar([], _IDS), lists)


def main() -> None:
    memory.be_killed_first()
    signal.alarm(TIME_LIMIT_S)
    try:
        export(json.load(sys.stdin), sys.stdout.buffer)
    except Gone as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
