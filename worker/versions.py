"""The kept versions: the newest few of each dataset, the newest few of its dry runs, and always the published one."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import sqlalchemy as sa
from psycopg2.errors import QueryCanceled

from worker import database, jobs

log = logging.getLogger(__name__)

# Detaching waits for the readers of the moment; what does not get through now is tried again later.
_PATIENCE_MS = 5000
_ROWS_AT_ONCE = 50_000
_ROWS_OF_JOBS = ("rejections", "job_log")


def drop_old(engine: sa.Engine, keep: int) -> None:
    """Drop what is older than the newest `keep` versions of a dataset, without making a reader or a job wait.

    Its dry runs are counted apart, and so are the rejections and logs of its jobs that have no version.
    """
    with engine.begin() as connection:
        _give_up_old(connection, keep)
    try:
        with _patient(engine) as connection:
            for table in _ROWS_OF_JOBS:
                for job_id in jobs.old_without_version(connection, table, keep):
                    _drop_rows(connection, table, job_id)
            _finish_detaching(connection)
            for job_id in [*_given_up(connection), *_unfinished(connection)]:
                _drop(connection, job_id)
                log.info("dropped a version", extra={"job_id": str(job_id)})
    except sa.exc.OperationalError as error:
        if not isinstance(error.orig, QueryCanceled):
            raise
        log.info("a version is in use and stays for now")


@contextmanager
def _patient(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Each statement by itself, and none for long."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"SET statement_timeout = {_PATIENCE_MS}"))
        try:
            yield connection
        finally:
            connection.execute(sa.text("RESET statement_timeout"))


def _unfinished(connection: sa.Connection) -> list[UUID]:
    """Return the jobs that have ended with a table and without a version.

    What is kept is read last: a job that was seen to have ended has entered its version before.
    """
    tables = connection.execute(
        sa.text(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND pg_table_is_visible(oid)"
            " AND relname ~ '^user_feature_versions_[0-9a-f]{32}$'"
        )
    )
    ended = jobs.ended(connection, [UUID(name.rpartition("_")[2]) for name in tables.scalars()])
    kept = set(connection.execute(sa.text("SELECT job_id FROM dataset_versions")).scalars())
    return [job_id for job_id in ended if job_id not in kept]


def _finish_detaching(connection: sa.Connection) -> None:
    """End what ran out of patience last time: Postgres detaches one partition at a time."""
    pending = "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'user_feature_versions'::regclass"
    for partition in list(connection.execute(sa.text(f"{pending} AND inhdetachpending")).scalars()):
        connection.execute(sa.text(f"ALTER TABLE user_feature_versions DETACH PARTITION {partition} FINALIZE"))


_OLD = """
    SELECT {column} FROM (
        SELECT job_id, dataset, row_number() OVER (
            PARTITION BY dataset, outcome = 'dry_run' ORDER BY computed_at DESC, job_id DESC
        ) AS age
        FROM dataset_versions WHERE dropping_at IS NULL
    ) AS version
    WHERE age > :keep AND NOT EXISTS (SELECT FROM datasets WHERE published_job_id = job_id)
"""


def _give_up_old(connection: sa.Connection, keep: int) -> None:
    """Mark what is too old. From then on it cannot be published: who moves a pointer takes the same lock first.

    A dataset that is locked just now waits for the next time, so that nobody waits for this.
    """
    locked = connection.execute(
        sa.text(
            f"SELECT name FROM datasets WHERE name IN ({_OLD.format(column='dataset')}) FOR NO KEY UPDATE SKIP LOCKED"
        ),
        {"keep": keep},
    )
    # A statement of its own: only one that starts after the lock was taken sees where the pointers are.
    connection.execute(
        sa.text(
            "UPDATE dataset_versions SET dropping_at = now()"
            f" WHERE dataset = ANY(:locked) AND job_id IN ({_OLD.format(column='job_id')})"
        ),
        {"locked": list(locked.scalars()), "keep": keep},
    )


def _given_up(connection: sa.Connection) -> list[UUID]:
    query = "SELECT job_id FROM dataset_versions WHERE dropping_at IS NOT NULL ORDER BY dropping_at, job_id"
    return list(connection.execute(sa.text(query)).scalars())


def _drop(connection: sa.Connection, job_id: UUID) -> None:
    """The version's row goes last, so that a drop which was interrupted is found again."""
    table = database.partition(job_id)
    attached = "SELECT FROM pg_inherits WHERE inhrelid = to_regclass(:partition)"
    if connection.execute(sa.text(attached), {"partition": table}).first() is not None:
        # A plain DETACH or DROP would lock the parent, and with it everybody who wants to read.
        connection.execute(sa.text(f"ALTER TABLE user_feature_versions DETACH PARTITION {table} CONCURRENTLY"))
    connection.execute(sa.text(f"DROP TABLE IF EXISTS {table}"))
    for rows in _ROWS_OF_JOBS:
        _drop_rows(connection, rows, job_id)
    connection.execute(sa.text("DELETE FROM dataset_versions WHERE job_id = :job_id"), {"job_id": job_id})


def _drop_rows(connection: sa.Connection, table: str, job_id: UUID) -> None:
    """Some at a time: there may be millions, and a statement that is interrupted has done nothing."""
    some = f"SELECT max(id) FROM (SELECT id FROM {table} WHERE job_id = :job_id ORDER BY id LIMIT :limit) AS first"
    delete = sa.text(f"DELETE FROM {table} WHERE job_id = :job_id AND id <= ({some})")
    while connection.execute(delete, {"job_id": job_id, "limit": _ROWS_AT_ONCE}).rowcount:
        pass
