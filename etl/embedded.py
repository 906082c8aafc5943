"""DuckDB, the engine that is embedded in the worker."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import duckdb
import ibis.expr.types as ir
import pyarrow as pa

from etl import inputs, packed, queries
from etl.contract import TABLES
from etl.errors import Transient
from etl.files import Dataset
from etl.inputs import BATCH_ROWS, InputFile, Progress, Records
from etl.reader import Reader
from etl.stored import StoredTables
from etl.validate import Step

# Where no more rows than this were read, of all files together, tables are made in less time than it takes to plan a
# view wherever it is read.
FEW_ROWS = 100_000

# More would only wait for who takes their blocks, each with some 20 MB.
PARSERS_MAX = 4

# Of the memory of a job, what is left to Python, Arrow and the sorting of keys: a quarter, or so much.
_OTHERS_BYTES_MAX = 512 << 20

_INTERRUPTED = "the query was interrupted"


class DuckDB:
    """An Engine (etl/engines.py): in process, out of core, memory-limited.

    It can open no file but its own in the spill directory, and load no extension.
    """

    dialect = "duckdb"
    own_ways: ClassVar = {
        "use_count": packed.make_use_count,
        "lines_with_wrong_items": packed.make_lines_with_wrong_items,
        "feature_most_common_compound_id": packed.make_most_common_compound,
    }

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, tables: StoredTables, threads: int, spill_directory: Path
    ) -> None:
        self._connection = connection
        self._tables = tables
        self._interrupted = False
        self._rows_appended = 0
        self.threads = threads
        self.spill_directory = spill_directory

    @classmethod
    @contextmanager
    def connect(cls, *, memory_bytes: int, threads: int, spill_directory: Path) -> Iterator["DuckDB"]:
        connection = duckdb.connect(
            config={
                "memory_limit": f"{memory_bytes - min(memory_bytes // 4, _OTHERS_BYTES_MAX)}B",
                "threads": threads,
                "temp_directory": str(spill_directory),
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
        tables = StoredTables(connection, spill_directory, memory_bytes // 4)
        try:
            # After connecting: without external access the spill directory could not be named any more.
            connection.execute("SET allowed_directories = [$directory]", {"directory": str(spill_directory)})
            connection.execute("SET enable_external_access = false; SET lock_configuration = true")
            yield cls(connection, tables, threads, spill_directory)
        finally:
            connection.close()
            tables.remove_file()

    def read(self, dataset: Dataset, progress: Progress) -> list[InputFile]:
        """Read the files one after the other."""
        for name, schema in inputs.schemas().items():
            self.create(name, schema)
        records = Records(self.append)
        total, done = sum(dataset.sizes().values()), 0
        files = []
        for table in TABLES:
            with dataset.open(table) as source:
                reader = Reader(source, parsers=min(self.threads, PARSERS_MAX))
                for block in reader.blocks():
                    records.add(table, block)
                    progress(done + source.bytes_read, max(total, done + source.bytes_read), "bytes")
                files.append(InputFile(source.snapshot, reader.dialect, reader.keys_increase))
                done += source.bytes_read
        records.complete()
        self.append("files", inputs.files(files))
        return files

    def create(self, name: str, schema: pa.Schema) -> None:
        """Make an empty table."""
        self._tables.create(name, schema)

    def append(self, name: str, rows: pa.Table | pa.RecordBatch) -> None:
        self.refuse_interruption()
        with _interruptible():
            self._tables.append(name, rows)
        self._rows_appended += len(rows)

    def make(self, steps: Callable[[], Iterator[Step]]) -> None:
        """Make the table of each step, in order."""
        are_many = self._rows_appended > FEW_ROWS
        for query in queries.of_steps(steps, self.dialect):
            own_way = self.own_ways.get(query.name)
            if own_way and are_many:
                own_way(self, query)
            else:
                self.execute(f"CREATE {'VIEW' if query.is_view and are_many else 'TABLE'} {query.name} AS {query.sql}")

    def execute(self, statement: str) -> None:
        with self._reading():
            self._connection.execute(statement)

    def stream(self, expression: Callable[[], ir.Table]) -> Iterator[pa.RecordBatch]:
        """Yield the expression's rows in batches, whatever their number."""
        return self.query(queries.of(expression, self.dialect))

    def query(self, query: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query in batches."""
        with self._reading():
            yield from self._connection.sql(query).to_arrow_reader(BATCH_ROWS)

    def table(self, query: str) -> pa.Table:
        """Return all rows of a query."""
        with self._reading():
            return self._connection.sql(query).to_arrow_table()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with _interruptible():
            self._tables.complete()
            yield

    def interrupt(self) -> None:
        """End what is running, from another thread; where it ran, Transient is raised."""
        self._interrupted = True
        self._connection.interrupt()

    def refuse_interruption(self) -> None:
        """Raise Transient where interrupt() was called: for work that is no query."""
        if self._interrupted:
            raise Transient(_INTERRUPTED)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Name an interrupted query; DuckDB raises three different types for it, by where the interruption came from."""
    try:
        yield
    except (duckdb.InterruptException, RuntimeError, OSError) as error:
        if "interrupted" not in str(error).lower():
            raise
        raise Transient(_INTERRUPTED) from error
