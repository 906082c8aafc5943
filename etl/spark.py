"""Spark, for data that has outgrown one machine: a cluster that is asked through Spark Connect.

The worker needs only PySpark's client. The cluster reads the dataset's files by itself, and every table is Parquet in
a directory that it shares with the worker: an executor that dies takes nothing with it, and all of it is gone when the
directory is.
"""

import json
import socket
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import grpc
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.errors import PySparkException
from pyspark.errors.exceptions.connect import PythonException, SparkConnectGrpcException, SparkException
from pyspark.sql import DataFrame
from pyspark.sql.connect.client import DefaultChannelBuilder
from pyspark.sql.connect.client.retries import DefaultPolicy
from pyspark.sql.connect.session import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from etl import distributed, executors, inputs, queries
from etl.errors import ENGINE_UNAVAILABLE, INTERRUPTED, Transient
from etl.executors import Blind, Task
from etl.files import Dataset
from etl.inputs import BATCH_ROWS, InputFile
from etl.progress import Progress
from etl.validate import Step

# How long it may take to answer when it is asked to interrupt.
_INTERRUPT_S = 1

# What an executor's Python says that is not the worker's, or lacks what it must have.
_WRONG_PYTHON = ("ModuleNotFoundError", "ImportError", "PySparkRuntimeError: [PYTHON_VERSION_MISMATCH]")

_SENTENCE_CHARS = 500

# How long a server may take to accept a connection, and how often it is asked again within some five seconds.
_PATIENCE_S, _RETRIES = 5, 4

_SETTINGS = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.session.timeZone": "UTC",
    # Days before 1582 as they are written.
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
}


class _Channel(DefaultChannelBuilder):
    """Keeps the channel, so that it can be closed under a server that does not answer."""

    def toChannel(self) -> grpc.Channel:  # noqa: N802 - PySpark's name
        self.channel = super().toChannel()
        return self.channel


class Spark:
    """An Engine (etl/engines.py): one session of a Spark Connect server, with its tables below `directory`."""

    dialect = "pyspark"

    def __init__(self, session: SparkSession, channel: grpc.Channel, directory: Path) -> None:
        self._session = session
        self._channel = channel
        self._directory = directory
        self._interrupted = False
        self._streams = 0

    @classmethod
    @contextmanager
    def connect(cls, *, remote: str, directory: Path) -> Iterator["Spark"]:
        """Open a session, which ends with the block. Raises Transient (`engine_unavailable`)."""
        _refuse_silence(remote)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # as in etl/engines.py
            channel = _Channel(remote)
            session = SparkSession.builder.channelBuilder(channel).create()
        try:
            session.client.set_retry_policies([DefaultPolicy(max_retries=_RETRIES)])
            spark = cls(session, channel.channel, directory)
            with spark._named_failures():
                for name, value in _SETTINGS.items():
                    session.conf.set(name, value)
                session.addArtifacts(str(_package(directory)), pyfile=True)
            yield spark
        finally:
            session.stop()

    def read(self, dataset: Dataset, progress: Progress) -> list[InputFile]:
        """Have the files read by tasks on the cluster."""
        total = sum(dataset.sizes().values())
        progress(0, total, "bytes")
        output = self._directory / "records"
        output.mkdir()
        try:
            extracted = distributed.read(dataset, output, self._run)
        except Blind as error:
            raise Transient(
                f"the cluster does not share the worker's directories under the same paths: {error}", ENGINE_UNAVAILABLE
            ) from error
        for name, schema in inputs.schemas().items():
            if paths := extracted.written.get(name):
                self._see(name, from_arrow_schema(schema), *paths)
            else:
                self.create(name, schema)
        self._put("unordered", inputs.unordered(extracted.files))
        progress(total, total, "bytes")
        return extracted.files

    def _run(self, tasks: Sequence[Task]) -> list[dict[str, Any]]:
        """Do tasks on the executors: a partition for each."""
        numbers = self._session.range(0, len(tasks), 1, len(tasks))
        with self._named_failures():
            told = numbers.mapInArrow(partial(executors.run, tasks), executors.OUTCOME).toArrow()
        outcomes = dict(zip(*(column.to_pylist() for column in told.columns), strict=True))
        return [json.loads(outcomes[number]) for number in range(len(tasks))]

    def create(self, name: str, schema: pa.Schema) -> None:
        self._put(name, schema.empty_table())

    def make(self, steps: Callable[[], Iterator[Step]], progress: Progress) -> None:
        made = queries.of_steps(steps, self.dialect)
        for place, query in enumerate(made):
            progress(place, len(made), "steps")
            with self._named_failures():
                table = self._session.sql(query.sql)
                if query.is_view:
                    table.createOrReplaceTempView(query.name)
                else:
                    self._see(query.name, table.schema, self._write(table, query.name))

    def stream(self, expression: Callable[[], ir.Table]) -> Iterator[pa.RecordBatch]:
        """By way of files, since what a server returns itself must fit into its memory."""
        self._streams += 1
        name = f"stream-{self._streams}"
        with self._named_failures():
            self._write(self._session.sql(queries.of(expression, self.dialect)), name)
        for path in sorted((self._directory / name).glob("part-*")):
            yield from pq.ParquetFile(path).iter_batches(BATCH_ROWS)
            path.unlink()

    def _put(self, name: str, rows: pa.Table) -> None:
        path = self._directory / f"{name}.parquet"
        pq.write_table(rows, path)
        self._see(name, from_arrow_schema(rows.schema), path)

    def _write(self, table: DataFrame, name: str) -> Path:
        path = self._directory / name
        table.write.parquet(_uri(path))
        return path

    def _see(self, name: str, schema: StructType, *paths: Path | str) -> None:
        """Call what is in these files or folders a table; to be told what the schema is takes Spark a job."""
        with self._named_failures():
            self._session.read.schema(schema).parquet(*map(_uri, paths)).createOrReplaceTempView(name)

    def interrupt(self) -> None:
        """Close the connection under a server that does not answer: that ends what waits for it, too."""
        self._interrupted = True
        asking = Thread(target=self._ask_to_interrupt, daemon=True)
        asking.start()
        asking.join(_INTERRUPT_S)
        if asking.is_alive():
            self._channel.close()

    def _ask_to_interrupt(self) -> None:
        with suppress(PySparkException):
            self._session.interruptAll()

    @contextmanager
    def _named_failures(self) -> Iterator[None]:
        """Raise Transient for an interruption, and for what is no fault of the query."""
        try:
            if self._interrupted:
                raise Transient(INTERRUPTED)
            yield
        except PySparkException as error:
            if self._interrupted:
                raise Transient(INTERRUPTED) from error
            if _is_of_the_cluster(error):
                raise Transient(f"the Spark cluster failed: {_sentence(error)}", ENGINE_UNAVAILABLE) from error
            raise


def _is_of_the_cluster(error: PySparkException) -> bool:
    """Tell whether a server, or too many executors, went away; a query that is wrong has types of its own."""
    if not isinstance(error, SparkConnectGrpcException):
        return False
    if isinstance(error, PythonException):
        return any(text in str(error) for text in _WRONG_PYTHON)
    is_gone = error.getGrpcStatusCode() == grpc.StatusCode.UNAVAILABLE
    return is_gone or isinstance(error, SparkException) or (error.getCondition() or "").startswith("INVALID_HANDLE")


def _sentence(error: PySparkException) -> str:
    """Return what a person needs of a message with stack traces: its start, and the last error of Python."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    of_python = [line for line in lines if line.startswith(_WRONG_PYTHON)]
    return " ".join([*lines[:1], *of_python[-1:]])[:_SENTENCE_CHARS]


def _uri(path: Path | str) -> str:
    """Whatever the cluster's default file system is."""
    return Path(path).as_uri()


def _refuse_silence(remote: str) -> None:
    """The client itself would try for ten minutes."""
    parts = urlsplit(remote)
    try:
        socket.create_connection((parts.hostname, parts.port), _PATIENCE_S).close()
    except OSError as error:
        raise Transient(
            f"no Spark Connect server answers at {parts.hostname}:{parts.port}: {error}", ENGINE_UNAVAILABLE
        ) from error


def _package(directory: Path) -> Path:
    """Pack etl for the executors."""
    package = Path(__file__).parent
    path = directory / "etl.zip"
    with zipfile.ZipFile(path, "w") as file:
        for source in sorted(package.glob("*.py")):
            file.write(source, f"{package.name}/{source.name}")
    return path
