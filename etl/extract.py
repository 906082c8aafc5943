"""A dataset's files -> raw tables in the engine, with each file's dialect, size and sha256."""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from etl.contract import TABLES, Table
from etl.dialect import Dialect
from etl.engines import Engine
from etl.files import Dataset
from etl.reader import Defect, Reader, records_schema

DEFECTS_SCHEMA = pa.schema([("file", pa.string()), ("line", pa.int64()), ("code", pa.string()), ("value", pa.string())])

# done, total, unit
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class InputFile:
    """One file as it was read; `sha256` and `size_bytes` are those of the bytes on disk."""

    file: str
    sha256: str
    size_bytes: int
    dialect: Dialect


def extract(dataset: Dataset, engine: Engine, progress: Progress) -> list[InputFile]:
    """Read every file once, into `raw_<table>` and `defects`.

    Raises BadInput with a file-level code of the contract.
    """
    create_tables(engine)
    sizes = dataset.sizes()
    done = 0
    inputs = []
    for table in TABLES:
        with dataset.open(table) as source:
            reader = Reader(source)
            for block in reader.blocks():
                engine.append(f"raw_{table.name}", block.records)
                if block.defects:
                    engine.append("defects", _batch(table, block.defects))
                progress(done + source.bytes_read, max(sum(sizes.values()), done + source.bytes_read), "bytes")
            inputs.append(InputFile(table.file, source.sha256, source.bytes_read, reader.dialect))
            done += source.bytes_read
    return inputs


def create_tables(engine: Engine) -> None:
    engine.create("defects", DEFECTS_SCHEMA)
    for table in TABLES:
        engine.create(f"raw_{table.name}", records_schema(table))


def _batch(table: Table, defects: list[Defect]) -> pa.RecordBatch:
    rows = [{"file": table.file, **defect._asdict()} for defect in defects]
    return pa.RecordBatch.from_pylist(rows, schema=DEFECTS_SCHEMA)
