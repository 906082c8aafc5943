"""What extraction leaves in an engine: `typed_<table>` and `raw_<table>` (see Reader), `defects` and `unordered`."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa

from etl.contract import TABLES, Table
from etl.dialect import Dialect
from etl.files import Snapshot
from etl.reader import Block, text_schema, typed_schema

BATCH_ROWS = 100_000  # that are handed out at once

# That are taken in at once: an append costs the embedded engine some milliseconds.
_APPENDED_ROWS = 250_000

UNORDERED_SCHEMA = pa.schema([("file", pa.string())])
DEFECTS_SCHEMA = pa.schema([("file", pa.string()), ("line", pa.int64()), ("code", pa.string()), ("value", pa.string())])


@dataclass(frozen=True)
class InputFile:
    """One file as it was read; `keys_increase` as in Reader."""

    snapshot: Snapshot
    dialect: Dialect
    keys_increase: bool


def schemas() -> dict[str, pa.Schema]:
    """Return the tables that extraction fills."""
    of_records = {f"typed_{table.name}": typed_schema(table) for table in TABLES}
    of_records |= {f"raw_{table.name}": text_schema(table) for table in TABLES}
    return of_records | {"defects": DEFECTS_SCHEMA, "unordered": UNORDERED_SCHEMA}


def unordered(inputs: Iterable[InputFile]) -> pa.Table:
    """The rows of the table `unordered`: the files in which a key may occur twice, since not each is greater."""
    names = [file.snapshot.file for file in inputs if not file.keys_increase]
    return pa.table([pa.array(names, pa.string())], schema=UNORDERED_SCHEMA)


class Records:
    """Blocks on their way to the tables, many rows at a time."""

    def __init__(self, append: Callable[[str, pa.Table], None]) -> None:
        self._append = append
        self._waiting: dict[str, list[pa.RecordBatch]] = defaultdict(list)

    def add(self, table: Table, block: Block) -> None:
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
            self._append(name, pa.Table.from_batches(self._waiting[name]))
            self._waiting[name] = []
