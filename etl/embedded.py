"""DuckDB, the engine that is embedded in the worker."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Event, Thread
from typing import ClassVar

import duckdb
import ibis.expr.types as ir
import pyarrow as pa

from etl import inputs, packed, queries
from etl.contract import TABLES, USERS
from etl.errors import INTERRUPTED, Transient
from etl.files import Dataset
from etl.inputs import BATCH_ROWS, InputFile, Records
from etl.progress import Progress, Steps
from etl.queries import Query
from etl.reader import Reader
from etl.stored import StoredTables
from etl.validate import Step

# Where no more rows than this were read, of all files together, tables are made in less time than it takes to plan a
# view wherever it is read.
FEW_ROWS = 100_000

# More would only wait for who takes their blocks, each with some 20 MB.
PARSERS_MAX = 4

# Of so many users the features are joined at once: while they are, all of them take memory.
SLICE_USERS = 250_000

# For query_progress(): a bar that is drawn nowhere.
_TELL_PROGRESS = "SET enable_progress_bar = true; SET enable_progress_bar_print = false; SET progress_bar_time = 0"
_LOOK_S = 0.5

# Of the memory of a job, what is left to Python, Arrow and the sorting of keys: a quarter, or so much.
_OTHERS_BYTES_MAX = 512 << 20


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
    # What is made for some users after the others, where there are many.
    streams_per_user: ClassVar = {"user_rows"}

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, tables: StoredTables, threads: int, spill_directory: Path
    ) -> None:
        self._connection = connection
        self._tables = tables
        self._interrupted = False
        self.rows_appended = 0
        self._rows: dict[str, int] = {}
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
            connection.execute(_TELL_PROGRESS)
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
        if (unordered := inputs.unordered(files)).num_rows:
            self.append("unordered", unordered)
        return files

    def create(self, name: str, schema: pa.Schema) -> None:
        """Make an empty table."""
        self._tables.create(name, schema)
        self._rows[name] = 0

    def append(self, name: str, rows: pa.Table | pa.RecordBatch) -> None:
        self.refuse_interruption()
        with _interruptible():
            self._tables.append(name, rows)
        self.rows_appended += len(rows)
        self._rows[name] += len(rows)

    def make(self, steps: Callable[[], Iterator[Step]], progress: Progress) -> None:
        """Make the table of each step, in order."""
        are_many = self.rows_appended > FEW_ROWS
        made = queries.of_steps(steps, self.dialect)
        told = Steps(len(made), self.rows_appended, progress)
        for query in made:
            own_way = self.own_ways.get(query.name)
            if own_way and are_many:
                own_way(self, query, told.tell)
            else:
                with self._watched(told.tell) if are_many else nullcontext():
                    self._make(query, is_view=query.is_view and are_many)
            told.end_step()

    @contextmanager
    def _watched(self, tell: Callable[[float], None]) -> Iterator[None]:
        """Tell from time to time what share of the query is done that runs meanwhile."""
        ended = Event()

        def look() -> None:
            while not ended.wait(_LOOK_S):
                with suppress(Exception):  # who is told in vain says so again when the query has ended
                    tell(self._connection.query_progress() / 100)

        watcher = Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()

    def _make(self, query: Query, *, is_view: bool) -> None:
        """Make the shorter query where that is enough: planning takes most of the time of a small job."""
        sql = query.sql
        if query.wrong and all(self._rows.get(name) == 0 for name in query.wrong):
            if query.rest is None:
                self.execute(f"CREATE TABLE {query.name} ({', '.join(map(' '.join, query.columns))})")
                self._rows[query.name] = 0
                return
            # The tables of records may be narrower than the expressions say.
            wide = ", ".join(f"{name}::{type_} AS {name}" for name, type_ in query.columns)
            sql = f"FROM ({query.rest}) SELECT {wide}"
        if is_view:
            self.execute(f"CREATE VIEW {query.name} AS {sql}")
        else:
            self._rows[query.name] = self.execute(f"CREATE TABLE {query.name} AS {sql}")

    def execute(self, statement: str) -> int:
        """Return the number of rows that it has made, of a statement that makes any."""
        with self._reading():
            row = self._connection.execute(statement).fetchone()
            return int(row[0]) if row else 0

    def stream(self, expression: Callable[[], ir.Table]) -> Iterator[pa.RecordBatch]:
        """Yield the expression's rows in batches, whatever their number."""
        query = queries.of(expression, self.dialect)
        if expression.__name__ in self.streams_per_user and self.rows_appended > SLICE_USERS:
            for slice_ in self._slices_of_users():
                yield from self.query(f"FROM ({query}) WHERE {slice_}")
        else:
            yield from self.query(query)

    def _slices_of_users(self) -> list[str]:
        """Return conditions: each user meets one of them, and about SLICE_USERS meet the same."""
        [users] = self.table("SELECT count(*) FROM clean_users").column(0).to_pylist()
        slices = -(-users // SLICE_USERS)
        if slices < 2:
            return ["true"]
        shares = [number / slices for number in range(1, slices)]
        quantiles = f"SELECT approx_quantile({USERS.key}, {shares}) FROM clean_users"  # noqa: S608 - none is a user's
        [bounds] = self.table(quantiles).column(0).to_pylist()
        above = ["true", *(f"{USERS.key} >= {bound}" for bound in bounds)]
        below = [*(f"{USERS.key} < {bound}" for bound in bounds), "true"]
        return [f"{low} AND {high}" for low, high in zip(above, below, strict=True)]

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
            raise Transient(INTERRUPTED)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Name an interrupted query; DuckDB raises three different types for it, by where the interruption came from."""
    try:
        yield
    except (duckdb.InterruptException, RuntimeError, OSError) as error:
        if "interrupted" not in str(error).lower():
            raise
        raise Transient(INTERRUPTED) from error
