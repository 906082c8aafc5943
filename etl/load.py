"""Rows from the engine -> COPY into Postgres, in batches; each job loads into a table of its own."""

import io
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, NamedTuple
from uuid import UUID

import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.csv
from psycopg2 import sql
from psycopg2.errors import DuplicateTable, UniqueViolation
from psycopg2.extensions import connection as Connection  # noqa: N812 - psycopg2 writes its class in lower case

from etl import features
from etl.contract import USERS
from etl.engines import Engine
from etl.errors import Transient
from etl.features import USER_CATALOGUE
from etl.validate import REJECTION_COLUMNS

# Is told after each piece how many rows were read; what it raises ends the load.
OnRows = Callable[[int], None]

_CSV = pyarrow.csv.WriteOptions(include_header=False)
_PIECE_BYTES = 1 << 20


def table_of(job_id: UUID) -> sql.Identifier:
    """The table with one job's version of the features; once it is attached, a partition."""
    return sql.Identifier(f"user_feature_versions_{job_id.hex}")


def _ignore(_rows: int) -> None:
    pass


def load(engine: Engine, connection: Connection, job_id: UUID, on_rows: OnRows = _ignore) -> None:
    """Load the job's feature rows into a table of its own, a partition of the versions; the caller commits.

    Nobody asks for these rows before something points to them. Raises Transient where an attempt that is being ended
    has made the table in this moment.
    """
    table, literal = table_of(job_id), sql.Literal(str(job_id))
    columns = [*USERS.column_names, *USER_CATALOGUE.columns]
    with connection.cursor() as cursor:
        if _is_attached(cursor, job_id):
            # By an attempt that got no further. Detaching it would have to wait for everybody who reads.
            cursor.execute(sql.SQL("DELETE FROM {}").format(table))
            _copy(cursor, table, columns, engine.stream(user_rows), on_rows)
            return
        try:
            _create(cursor, table, literal)
        except (DuplicateTable, UniqueViolation) as error:
            raise Transient("another attempt has made the table of this job") from error
        _copy(cursor, table, columns, engine.stream(user_rows), on_rows)
        cursor.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (job_id, user_id)").format(table))
        cursor.execute(
            sql.SQL("ALTER TABLE user_feature_versions ATTACH PARTITION {} FOR VALUES IN ({})").format(table, literal)
        )


def _is_attached(cursor: Any, job_id: UUID) -> bool:
    cursor.execute(
        "SELECT FROM pg_inherits WHERE inhrelid = to_regclass(%(table)s) AND NOT inhdetachpending",
        {"table": table_of(job_id).string},
    )
    return bool(cursor.rowcount)


def _create(cursor: Any, table: sql.Identifier, job_id: sql.Composable) -> None:
    """Make a table like that of all versions, which CREATE TABLE (LIKE ...) would lock until the rows are loaded.

    Thanks to the CHECK, attaching is a matter of the catalogue: Postgres need not read the rows again.
    """
    cursor.execute(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
        " WHERE attrelid = to_regclass('user_feature_versions') AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    )
    columns = [
        sql.SQL("{} {}" + (" NOT NULL" if required else "")).format(sql.Identifier(name), sql.SQL(type_))
        for name, type_, required in cursor.fetchall()
    ]
    cursor.execute(
        sql.SQL(
            "CREATE TABLE {table} ({columns}, CHECK (job_id = {job_id}));"
            "ALTER TABLE {table} ALTER job_id SET DEFAULT {job_id}"
        ).format(table=table, columns=sql.SQL(", ").join(columns), job_id=job_id)
    )


def load_rejections(
    batches: Iterable[pa.RecordBatch], connection: Connection, job_id: UUID, on_rows: OnRows = _ignore
) -> None:
    """Load rejections of the job inside the caller's transaction."""
    with connection.cursor() as cursor:
        rows = (_with_job(batch, job_id) for batch in batches)
        _copy(cursor, sql.Identifier("rejections"), ["job_id", *REJECTION_COLUMNS], rows, on_rows)


def user_rows() -> ir.Table:
    """The features of each user, lists as Postgres writes them: Arrow's CSV writer knows no lists."""
    rows = features.user_features()
    lists = [name for name, type_ in rows.schema().items() if type_.is_array()]
    return rows.mutate(
        **{name: "{" + rows[name].map(lambda item: item.cast("string")).join(",") + "}" for name in lists}
    )


def _with_job(batch: pa.RecordBatch, job_id: UUID) -> pa.RecordBatch:
    job_ids = pa.repeat(str(job_id), len(batch))
    return pa.RecordBatch.from_arrays([job_ids, *batch.columns], names=["job_id", *batch.schema.names])


def _copy(
    cursor: Any, table: sql.Identifier, columns: Sequence[str], batches: Iterator[pa.RecordBatch], on_rows: OnRows
) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(table, names)
    with closing(_made_ahead(map(_csv, batches))) as files:
        cursor.copy_expert(statement, _CsvStream(files, on_rows), size=_PIECE_BYTES)


class _Csv(NamedTuple):
    """A file of so many rows."""

    rows: int
    file: io.BytesIO


def _csv(batch: pa.RecordBatch) -> _Csv:
    file = io.BytesIO()
    pyarrow.csv.write_csv(batch, file, _CSV)
    file.seek(0)
    return _Csv(len(batch), file)


def _made_ahead(files: Iterator[_Csv]) -> Generator[_Csv]:
    """Yield the files, each of which is made while the one before is used."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, files, None)
        while file := following.result():
            following = thread.submit(next, files, None)
            yield file


class _CsvStream:
    """Files as one, which COPY reads piece by piece."""

    def __init__(self, files: Iterator[_Csv], on_rows: OnRows) -> None:
        self._files = files
        self._on_rows = on_rows
        self._rows = 0
        self._file = io.BytesIO()

    def read(self, size: int) -> bytes:
        self._on_rows(self._rows)
        while not (piece := self._file.read(size)):
            csv = next(self._files, None)
            if csv is None:
                return b""
            self._file = csv.file
            self._rows += csv.rows
        return piece
