"""The pipeline with every check removed, to measure beside it what checking costs. Never used for anything else.

It believes the files: no encoding, no quote, no row count, no type beyond Arrow's own, no key, no reference, no line
numbers, no account, no second look at the files. What is left are the steps to the same features.
"""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pyarrow.csv

from etl import features, id_lists, load, pipeline, publish, validate
from etl.arrow import TYPES
from etl.contract import TABLES, USER_EXPERIMENTS, Table
from etl.embedded import DuckDB
from etl.files import READ_BYTES, Dataset, Snapshot
from etl.progress import unheard
from etl.publish import Transaction
from etl.reader import typed_schema
from etl.validate import Step


def run(job_id: UUID, directory: Path, engine: DuckDB, transaction: Transaction) -> None:
    """Publish the features of a dataset."""
    snapshots = [_read(Dataset(directory, 1 << 40), table, engine) for table in TABLES]
    engine.make(_steps, unheard)
    engine.make(features.steps, unheard)
    with transaction() as connection:
        load.load(engine, connection, job_id)
    publish.announce(transaction)
    [summary] = [row for batch in engine.stream(features.experiment_summary) for row in batch.to_pylist()]
    version = publish.Version(job_id, "default", pipeline.fingerprint(snapshots), summary)
    with transaction() as connection:
        publish.publish(connection, version)


def _read(dataset: Dataset, table: Table, engine: DuckDB) -> Snapshot:
    """Read into `typed_<table>`, or where it has no lists, into `clean_<table>` at once."""
    has_lists = any(column.type == "id_list" for column in table.columns)
    types = {column.name: TYPES[column.type] for column in table.columns}
    name = f"{'typed' if has_lists else 'clean'}_{table.name}"
    engine.create(name, pa.schema([field for field in typed_schema(table) if field.name != "line"]))
    with dataset.open(table) as source:
        pending = b""
        while block := source.read(READ_BYTES):
            content, newline, rest = (pending + block).rpartition(b"\n")
            pending = rest
            for batch in _parse(content + newline, types, is_first=source.bytes_read == len(block)).to_batches():
                engine.append(name, _with_lists(table, batch))
        return source.snapshot


def _with_lists(table: Table, batch: pa.RecordBatch) -> pa.RecordBatch:
    columns: list[pa.Array] = []
    for column in table.columns:
        if column.type == "id_list":
            lists = id_lists.parse(batch[column.name])
            columns += [lists.lists, lists.repeat]
        else:
            columns.append(batch[column.name])
    return pa.RecordBatch.from_arrays(columns, schema=typed_schema(table).remove(0))


def _parse(content: bytes, types: dict[str, pa.DataType], *, is_first: bool) -> pa.Table:
    return pyarrow.csv.read_csv(
        pa.py_buffer(content),
        read_options=pyarrow.csv.ReadOptions(
            use_threads=False, block_size=len(content) + 1, column_names=list(types), skip_rows=int(is_first)
        ),
        parse_options=pyarrow.csv.ParseOptions(quote_char=False),
        convert_options=pyarrow.csv.ConvertOptions(check_utf8=False, column_types=types, strings_can_be_null=True),
    )


def _steps() -> Iterator[Step]:
    records = validate.typed(USER_EXPERIMENTS)
    ids = records.experiment_compound_ids
    once = records.experiment_compound_ids_repeat.ifelse(ids.unique(), ids)
    clean = records.select("experiment_id", "user_id", "experiment_run_time", experiment_compound_ids=once)
    yield Step("clean_user_experiments", clean, is_view=True)
    experiments = validate.clean(USER_EXPERIMENTS)
    uses = experiments.select("experiment_id", "user_id", compound_id=experiments.experiment_compound_ids.unnest())
    yield Step("uses", uses, is_view=True)
    yield Step("use_count", validate.uses().agg(uses=validate.uses().count()))
