"""A dataset's files -> tables of records in the engine, with each file's dialect, size and sha256."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from etl.contract import TABLES, Table
from etl.dialect import Dialect
from etl.engines import Engine
from etl.files import Dataset, Snapshot
from etl.reader import Block, Reader, text_schema, typed_schema

FILES_SCHEMA = pa.schema([("file", pa.string()), ("keys_increase", pa.bool_())])
DEFECTS_SCHEMA = pa.schema([("file", pa.string()), ("line", pa.int64()), ("code", pa.string()), ("value", pa.string())])

# An append costs the embedded engine some milliseconds.
_APPENDED_ROWS = 250_000

# More would only wait for who takes their blocks, each with some 20 MB.
PARSERS_MAX = 4

# done, total, unit
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class InputFile:
    """One file as it was read; `keys_increase` as in Reader."""

    snapshot: Snapshot
    dialect: Dialect
    keys_increase: bool


def extract(dataset: Dataset, engine: Engine, progress: Progress) -> list[InputFile]:
    """Read every file, into `typed_<table>` and `raw_<table>` (see Reader), `defects` and `files`.

    Raises BadInput with a file-level code of the contract.
    """
    create_tables(engine)
    tables = _Tables(engine)
    total = sum(dataset.sizes().values())
    done = 0
    inputs = []
    for table in TABLES:
        with dataset.open(table) as source:
            reader = Reader(source, parsers=min(engine.threads, PARSERS_MAX))
            for block in reader.blocks():
                tables.append(table, block)
                progress(done + source.bytes_read, max(total, done + source.bytes_read), "bytes")
            inputs.append(InputFile(source.snapshot, reader.dialect, reader.keys_increase))
            done += source.bytes_read
    tables.complete()
    # Nothing new to tell; but who tells learns here that the job is not its own any more.
    dataset.refuse_changes([file.snapshot for file in inputs], lambda _: progress(done, max(total, done), "bytes"))
    facts = [{"file": file.snapshot.file, "keys_increase": file.keys_increase} for file in inputs]
    engine.append("files", pa.RecordBatch.from_pylist(facts, schema=FILES_SCHEMA))
    return inputs


def create_tables(engine: Engine) -> None:
    engine.create("files", FILES_SCHEMA)
    engine.create("defects", DEFECTS_SCHEMA)
    for table in TABLES:
        engine.create(f"typed_{table.name}", typed_schema(table))
        engine.create(f"raw_{table.name}", text_schema(table))


class _Tables:
    """The engine's tables while they are filled, with many rows at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: dict[str, list[pa.RecordBatch]] = defaultdict(list)

    def append(self, table: Table, block: Block) -> None:
        self._add(f"typed_{table.name}", block.typed)
        self._add(f"raw_{table.name}", block.text)
        if block.defects:
            lines, codes, values = zip(*block.defects, strict=True)
            columns = [pa.repeat(table.file, len(lines)), *map(pa.array, (lines, codes, values))]
            self._add("defects", pa.RecordBatch.from_arrays(columns, schema=DEFECTS_SCHEMA))

    def complete(self) -> None:
        for name in self._waiting:
            self._flush(name)

    def _add(self, name: str, batch: pa.RecordBatch) -> None:
        if len(batch):
            self._waiting[name].append(batch)
            if sum(map(len, self._waiting[name])) >= _APPENDED_ROWS:
                self._flush(name)

    def _flush(self, name: str) -> None:
        if self._waiting[name]:
            self._engine.append(name, pa.Table.from_batches(self._waiting[name]))
            self._waiting[name] = []
