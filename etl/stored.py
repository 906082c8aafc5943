"""Where the embedded engine's tables of records are: in memory, and compressed in a file as soon as they are large."""

from collections import defaultdict
from pathlib import Path

import duckdb
import pyarrow as pa

# What a file saves of a table that is smaller is not worth its making.
IN_MEMORY_BYTES_MAX = 384 << 20

# As long as all ids of a table in memory fit, they take half of the room.
_NARROW = {pa.int64(): pa.int32(), pa.list_(pa.int64()): pa.list_(pa.int32())}

# Naming them takes a quarter of the time in which DuckDB takes them over from Arrow.
_SQL = {
    pa.bool_(): "BOOLEAN",
    pa.date32(): "DATE",
    pa.float64(): "DOUBLE",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.string(): "VARCHAR",
}


class StoredTables:
    """Tables that are filled by appending; complete() must come before they are read.

    A table that takes more than `in_memory_bytes` moves to a file in `directory`, and its rows go there in one
    transaction: that writes them compressed, and once.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, directory: Path, in_memory_bytes: int) -> None:
        self._connection = connection
        self._path = directory / "tables.duckdb"
        self._in_memory_bytes = min(in_memory_bytes, IN_MEMORY_BYTES_MAX)
        self._schemas: dict[str, pa.Schema] = {}
        self._narrow: dict[str, pa.Schema] = {}
        self._bytes: dict[str, int] = defaultdict(int)
        self._in_file: set[str] = set()
        self._filling: duckdb.DuckDBPyConnection | None = None

    def create(self, name: str, schema: pa.Schema) -> None:
        """Make an empty table."""
        self._schemas[name] = schema
        self._narrow[name] = pa.schema([field.with_type(_NARROW.get(field.type, field.type)) for field in schema])
        self._create(name, self._narrow[name])

    def append(self, name: str, rows: pa.Table | pa.RecordBatch) -> None:
        if isinstance(rows, pa.RecordBatch):
            rows = pa.Table.from_batches([rows])
        if name not in self._in_file:
            rows = self._narrowed(name, rows)
            self._bytes[name] += rows.nbytes
            if self._bytes[name] > self._in_memory_bytes:
                self._move(name)
        if name in self._in_file:
            # Not a registered one: the transaction would keep it in memory to its end.
            self._begun().from_arrow(rows).insert_into(f"file.{name}")
        else:
            self._connection.from_arrow(rows).insert_into(name)

    def _narrowed(self, name: str, rows: pa.Table) -> pa.Table:
        """Return the rows in the types of the table, of which those that are too narrow are widened."""
        try:
            return rows.cast(self._narrow[name])
        except pa.ArrowInvalid:
            for place, field in enumerate(self._narrow[name]):
                if not _fits(rows.column(place), field.type):
                    wide = self._schemas[name].field(place)
                    self._connection.execute(f'ALTER TABLE {name} ALTER "{field.name}" TYPE {_sql(wide.type)}')
                    self._narrow[name] = self._narrow[name].set(place, wide)
            return rows.cast(self._narrow[name])

    def complete(self) -> None:
        """Show the rows that were appended."""
        if self._filling:
            self._filling.commit()
            self._filling.close()
            self._filling = None

    def remove_file(self) -> None:
        self._path.unlink(missing_ok=True)

    def _move(self, name: str) -> None:
        self.complete()
        if not self._in_file:
            path = str(self._path).replace("'", "''")
            # Nobody opens it again, so there is no need of a log to recover it with.
            self._connection.execute(f"ATTACH '{path}' AS file (RECOVERY_MODE no_wal_writes)")
        self._create(f"file.{name}", self._schemas[name])
        self._connection.execute(f"INSERT INTO file.{name} FROM {name}")
        self._connection.execute(f"DROP TABLE {name}")
        self._connection.execute(f"CREATE VIEW {name} AS FROM file.{name}")
        self._in_file.add(name)

    def _create(self, name: str, schema: pa.Schema) -> None:
        columns = ", ".join(f'"{field.name}" {_sql(field.type)}' for field in schema)
        self._connection.execute(f"CREATE TABLE {name} ({columns})")

    def _begun(self) -> duckdb.DuckDBPyConnection:
        if not self._filling:
            self._filling = self._connection.cursor()
            self._filling.begin()
        return self._filling


def _sql(type_: pa.DataType) -> str:
    return f"{_sql(type_.value_type)}[]" if pa.types.is_list(type_) else _SQL[type_]


def _fits(column: pa.ChunkedArray, type_: pa.DataType) -> bool:
    try:
        column.cast(type_)
    except pa.ArrowInvalid:
        return False
    return True
