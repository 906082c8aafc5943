"""The kept versions: the newest few of each dataset, and always the published one."""

import logging
from uuid import UUID

import sqlalchemy as sa

log = logging.getLogger(__name__)

# Detaching waits for the readers of the moment; what does not get through now is tried again later.
_PATIENCE_MS = 5000


def drop_old(engine: sa.Engine, keep: int) -> None:
    """Drop what is older than the newest `keep` versions of a dataset, without making a reader or a job wait."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"SET statement_timeout = {_PATIENCE_MS}"))
        try:
            _finish_detaching(connection)
            for job_id in _old(connection, keep):
                connection.execute(sa.text(f"SET statement_timeout = {_PATIENCE_MS}"))
                _drop(connection, job_id)
                log.info("dropped an old version", extra={"job_id": str(job_id)})
        finally:
            connection.execute(sa.text("RESET statement_timeout"))


def _finish_detaching(connection: sa.Connection) -> None:
    """End what ran out of patience last time: Postgres detaches one partition at a time."""
    pending = "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'user_feature_versions'::regclass"
    for partition in list(connection.execute(sa.text(f"{pending} AND inhdetachpending")).scalars()):
        connection.execute(sa.text(f"ALTER TABLE user_feature_versions DETACH PARTITION {partition} FINALIZE"))


def _old(connection: sa.Connection, keep: int) -> list[UUID]:
    rows = connection.execute(
        sa.text("""
            SELECT job_id FROM (
                SELECT job_id, row_number() OVER (PARTITION BY dataset ORDER BY computed_at DESC, job_id DESC) AS age
                FROM dataset_versions
            ) AS v
            WHERE age > :keep AND NOT EXISTS (SELECT FROM datasets WHERE published_job_id = job_id)
        """),
        {"keep": keep},
    )
    return list(rows.scalars())


def _drop(connection: sa.Connection, job_id: UUID) -> None:
    """The version's row goes last, so that a drop which was interrupted is found again."""
    partition = f'"user_feature_versions_{job_id.hex}"'
    attached = "SELECT FROM pg_inherits WHERE inhrelid = to_regclass(:partition)"
    if connection.execute(sa.text(attached), {"partition": partition}).first() is not None:
        # A plain DETACH or DROP would lock the parent, and with it everybody who wants to read.
        connection.execute(sa.text(f"ALTER TABLE user_feature_versions DETACH PARTITION {partition} CONCURRENTLY"))
    connection.execute(sa.text(f"DROP TABLE IF EXISTS {partition}"))
    # Patience is for locks; many rejections may take their time.
    connection.execute(sa.text("SET statement_timeout = 0"))
    connection.execute(sa.text("DELETE FROM rejections WHERE job_id = :job_id"), {"job_id": job_id})
    connection.execute(sa.text("DELETE FROM dataset_versions WHERE job_id = :job_id"), {"job_id": job_id})
