"""Where the expressions run: connect(name) -> an engine.

An engine holds named tables. Steps are Ibis expressions over such names, so each is compiled once (etl/queries.py),
whatever the number of jobs.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import ibis.expr.types as ir
import pyarrow as pa

from etl.embedded import DuckDB
from etl.errors import ENGINE_UNAVAILABLE, BadInput
from etl.files import Dataset
from etl.inputs import InputFile
from etl.progress import Progress
from etl.validate import Step


class Engine(Protocol):
    """What a job needs of an engine."""

    def read(self, dataset: Dataset, progress: Progress) -> list[InputFile]:
        """Fill the tables of etl/inputs.py from the dataset's files, in the order of TABLES.

        Raises BadInput with a file-level code of the contract.
        """

    def create(self, name: str, schema: pa.Schema) -> None:
        """Make an empty table."""

    def make(self, steps: Callable[[], Iterator[Step]], progress: Progress) -> None:
        """Make the table of each step, in order."""

    def stream(self, expression: Callable[[], ir.Table]) -> Iterator[pa.RecordBatch]:
        """Yield the expression's rows in batches, whatever their number."""

    def interrupt(self) -> None:
        """End what is running, from another thread; where it ran, Transient is raised."""


def connect(
    name: str, *, memory_bytes: int, threads: int, spill_directory: Path, spark_remote: str | None = None
) -> AbstractContextManager[Engine]:
    """Open an engine: `duckdb` within these limits, or `spark`, which needs `spark_remote` and has limits of its own.

    Raises KeyError for a name that is none, BadInput or Transient (`engine_unavailable`) where there is no cluster.
    """
    if name == "spark":
        return _spark(spark_remote, spill_directory)
    return {"duckdb": DuckDB.connect}[name](memory_bytes=memory_bytes, threads=threads, spill_directory=spill_directory)


def _spark(remote: str | None, directory: Path) -> AbstractContextManager[Engine]:
    if not remote:
        raise BadInput(ENGINE_UNAVAILABLE, "this worker knows no Spark cluster: SPARK_REMOTE is not set")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PySpark's, of pandas 3, which nothing here hands it
            from etl.spark import Spark  # where no job wants it, PySpark need not be installed
    except ImportError as error:
        raise BadInput(
            ENGINE_UNAVAILABLE, f"this worker has no client for Spark (requirements-spark.txt): {error}"
        ) from error
    return Spark.connect(remote=remote, directory=directory)
