"""Where the expressions run: connect(name) -> an engine.

An engine holds named tables. Steps are Ibis expressions over such names, so each is compiled once per process, whatever
the number of jobs.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa

from etl.errors import Transient
from etl.validate import Step

BATCH_ROWS = 100_000


class DuckDB:
    """The embedded engine: in process, out of core, memory-limited; it can open no file and load no extension."""

    dialect = "duckdb"

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def connect(cls, *, memory_bytes: int, threads: int, spill_directory: Path) -> Iterator["DuckDB"]:
        connection = duckdb.connect(
            config={
                "memory_limit": f"{memory_bytes}B",
                "threads": threads,
                "temp_directory": str(spill_directory),
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
        try:
            # After connecting: without external access the spill directory could not be named any more.
            connection.execute("SET enable_external_access = false; SET lock_configuration = true")
            yield cls(connection)
        finally:
            connection.close()

    def create(self, name: str, schema: pa.Schema) -> None:
        """Make an empty table."""
        self._connection.register("_empty", schema.empty_table())
        self._connection.execute(f"CREATE TABLE {name} AS FROM _empty")
        self._connection.unregister("_empty")

    def append(self, name: str, rows: pa.Table | pa.RecordBatch) -> None:
        self._connection.register("_batch", rows)
        self._connection.execute(f"INSERT INTO {name} FROM _batch")
        self._connection.unregister("_batch")

    def make(self, steps: Callable[[], Iterator[Step]]) -> None:
        """Make the table of each step, in order."""
        for name, query in _compiled(steps, self.dialect):
            with _interruptible():
                self._connection.execute(f"CREATE TABLE {name} AS {query}")

    def stream(self, expression: Callable[[], ir.Table]) -> Iterator[pa.RecordBatch]:
        """Yield the expression's rows in batches, whatever their number."""
        query = _query(expression, self.dialect)
        with _interruptible():
            yield from self._connection.sql(query).to_arrow_reader(BATCH_ROWS)

    def interrupt(self) -> None:
        """End the query that is running, from another thread; where it ran, Transient is raised."""
        self._connection.interrupt()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Name an interrupted query; DuckDB raises three different types for it, by where the interruption came from."""
    try:
        yield
    except (duckdb.InterruptException, RuntimeError, OSError) as error:
        if "interrupted" not in str(error).lower():
            raise
        raise Transient("the query was interrupted") from error


Engine = DuckDB
ENGINES = {"duckdb": DuckDB.connect}


def connect(name: str, *, memory_bytes: int, threads: int, spill_directory: Path) -> AbstractContextManager[DuckDB]:
    """Open the engine of that name. Raises KeyError for a name that is not in ENGINES."""
    return ENGINES[name](memory_bytes=memory_bytes, threads=threads, spill_directory=spill_directory)


@cache
def _compiled(steps: Callable[[], Iterator[Step]], dialect: str) -> list[tuple[str, str]]:
    return [(name, str(ibis.to_sql(expression, dialect=dialect))) for name, expression in steps()]


@cache
def _query(expression: Callable[[], ir.Table], dialect: str) -> str:
    return str(ibis.to_sql(expression(), dialect=dialect))
