"""A dataset's files -> tables of records in the engine, with each file's dialect, size and sha256."""

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
    total = sum(dataset.sizes().values())
    done = 0
    inputs = []
    for table in TABLES:
        with dataset.open(table) as source:
            reader = Reader(source)
            for block in reader.blocks():
                _append(engine, table, block)
                progress(done + source.bytes_read, max(total, done + source.bytes_read), "bytes")
            inputs.append(InputFile(source.snapshot, reader.dialect, reader.keys_increase))
            done += source.bytes_read
    dataset.refuse_changes([file.snapshot for file in inputs])
    facts = [{"file": file.snapshot.file, "keys_increase": file.keys_increase} for file in inputs]
    engine.append("files", pa.RecordBatch.from_pylist(facts, schema=FILES_SCHEMA))
    return inputs


def create_tables(engine: Engine) -> None:
    engine.create("files", FILES_SCHEMA)
    engine.create("defects", DEFECTS_SCHEMA)
    for table in TABLES:
        engine.create(f"typed_{table.name}", typed_schema(table))
        engine.create(f"raw_{table.name}", text_schema(table))


def _append(engine: Engine, table: Table, block: Block) -> None:
    if len(block.records):
        engine.append(f"{'typed' if block.typed else 'raw'}_{table.name}", block.records)
    if block.defects:
        rows = [{"file": table.file, **defect._asdict()} for defect in block.defects]
        engine.append("defects", pa.RecordBatch.from_pylist(rows, schema=DEFECTS_SCHEMA))
