"""What a cluster's executors do: tasks that read files on storage which they share with the worker.

The package is shipped to them. What is imported here wants nothing but pyarrow and numpy of their Python.
"""

import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from etl import ranges
from etl.contract import TABLES, Table
from etl.dialect import Dialect, Header
from etl.errors import BadInput
from etl.files import READ_BYTES, Dataset, Range, Snapshot, Source, changed
from etl.inputs import InputFile, Records, schemas
from etl.ranges import Keys, Look
from etl.reader import Reader

OUTCOME = "task bigint, outcome string"


@dataclass(frozen=True)
class Place:
    """A file of a dataset, and the directory for what comes of it."""

    directory: str
    file_bytes_max: int
    table_name: str
    output: str

    @property
    def table(self) -> Table:
        [table] = [table for table in TABLES if table.name == self.table_name]
        return table

    def open(self) -> AbstractContextManager[Source]:
        return Dataset(Path(self.directory), self.file_bytes_max).open(self.table)


class Task(Protocol):
    """One thing to do, whose result can be told as JSON."""

    @property
    def place(self) -> Place:
        """The file that it is about."""

    def result(self) -> Any:
        """Do it. Raises BadInput."""


@dataclass(frozen=True)
class Hash:
    """Name the content of a file, and of each of its ranges: the sha256 sums that a Source computes."""

    place: Place
    ranges: Sequence[Range]

    def result(self) -> Any:
        sums = []
        with self.place.open() as source:
            for range_ in self.ranges:
                sum_, left = hashlib.sha256(), range_.end - range_.start
                while block := source.read(min(left, READ_BYTES)):
                    sum_.update(block)
                    left -= len(block)
                sums.append(sum_.hexdigest())
            return asdict(source.snapshot), sums

    @staticmethod
    def told(result: Any) -> tuple[Snapshot, list[str]]:
        return Snapshot(**result[0]), result[1]


@dataclass(frozen=True)
class LookAt:
    """Look at a piece of a file, and at the header where the piece is the first."""

    place: Place
    piece: Range

    def result(self) -> Any:
        told = None
        if self.piece.start == 0:
            with self.place.open() as source:
                if found := ranges.header_of(source):
                    header, end = found
                    told = asdict(header.dialect), header.columns, end
        with self.place.open() as source:
            source.narrow(self.piece)
            return asdict(ranges.look(source)), told

    @staticmethod
    def told(result: Any) -> tuple[Look, tuple[Header, int] | None]:
        look, header = result
        return Look(**look), header and (Header(Dialect(**header[0]), header[1]), header[2])


@dataclass(frozen=True)
class Part:
    """What was read of a file, its keys, and the Parquet file of each table that has rows; a range also as it looks."""

    input: InputFile
    keys: Keys
    written: dict[str, str]
    look: Look | None


@dataclass(frozen=True)
class Read:
    """Read a file, or a range of one, into Parquet files; below the first range `header` is the file's."""

    place: Place
    range: Range | None = None
    header: Header | None = None

    def result(self) -> Any:
        with ExitStack() as stack:
            written = _Written(Path(self.place.output), stack)
            records = Records(written.append)
            source = stack.enter_context(self.place.open())
            if self.range:
                source.narrow(self.range)
            reader = Reader(source, header=self.header)
            for block in reader.blocks():
                records.add(self.place.table, block)
            records.complete()
            file = InputFile(source.snapshot, reader.dialect, reader.keys_increase)
            keys = Keys(reader.keys_increase, reader.first_key, reader.last_key)
            return asdict(Part(file, keys, written.paths, self._look_again(file)))

    def _look_again(self, file: InputFile) -> Look | None:
        """The range as it is now. Raises BadInput (`input_changed`) where that is not what was read."""
        if not self.range:
            return None
        with self.place.open() as source:
            source.narrow(self.range)
            look = ranges.look(source)
            if source.snapshot != file.snapshot:
                raise changed(self.place.table)
            return look

    @staticmethod
    def told(result: Any) -> Part:
        file = result["input"]
        snapshot, dialect = Snapshot(**file["snapshot"]), Dialect(**file["dialect"])
        look = Look(**result["look"]) if result["look"] else None
        return Part(
            InputFile(snapshot, dialect, file["keys_increase"]), Keys(**result["keys"]), result["written"], look
        )


class _Written:
    """One Parquet file for each table; the name is new, for an earlier attempt at the task may have left its own."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self._name = f"{uuid.uuid4()}.parquet"
        self._writers: dict[str, pq.ParquetWriter] = {}
        self.paths: dict[str, str] = {}

    def append(self, name: str, rows: pa.Table) -> None:
        if name not in self._writers:
            path = self._directory / f"{name}-{self._name}"
            self._writers[name] = self._stack.enter_context(pq.ParquetWriter(path, schemas()[name]))
            self.paths[name] = str(path)
        self._writers[name].write_table(rows)


class Blind(Exception):  # noqa: N818 - it says what an executor is
    """An executor does not see a directory of the worker's, or may not use it."""


def run(tasks: Sequence[Task], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Do the tasks with these numbers; yield OUTCOME for each."""
    for batch in batches:
        for number in batch.column(0).to_pylist():
            yield pa.RecordBatch.from_pydict({"task": [number], "outcome": [json.dumps(outcome(tasks[number]))]})


def outcome(task: Task) -> dict[str, Any]:
    """Do a task; for result_of(). An exception would have Spark do it again, four times."""
    for directory in (task.place.directory, task.place.output):
        if not Path(directory).is_dir():
            return {"blind": f"there is no {directory}"}
    try:
        return {"result": task.result()}
    except BadInput as error:
        return {"refused": [error.code, error.detail]}
    except PermissionError as error:
        return {"blind": str(error)}


def result_of(told: dict[str, Any]) -> Any:
    """Return the result of a task. Raises BadInput as it did, and Blind."""
    if "refused" in told:
        raise BadInput(*told["refused"])
    if "blind" in told:
        raise Blind(told["blind"])
    return told["result"]
