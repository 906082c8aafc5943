"""Indices of the published versions, by which the API sorts and searches.

They are made after the publication and beside everything else: until they are there, an answer only takes longer.
"""

import logging
from uuid import UUID

import sqlalchemy as sa

from worker import database, disk
from worker.settings import Settings

log = logging.getLogger(__name__)

# What rows can be sorted by, beside user_id: the keys of the indices. Text goes without regard to case, and by code
# points, because only then the index also finds what begins with a text. An entry of an index may have 2,700 bytes, so
# of a long text only the beginning counts.
KEYS = {
    "name": 'left(lower(name), 500) COLLATE "C"',
    "email": 'left(lower(email), 500) COLLATE "C"',
    "signup_date": "signup_date",
    "total_experiments": "total_experiments",
    "average_run_time": "average_run_time",
}

# Some 40,000 users: what is smaller is read as a whole within a few milliseconds.
_LARGE_BYTES = 8 << 20

_LOCK = 7_305_712_919  # any number that nothing else in this database locks


def make_missing(engine: sa.Engine, settings: Settings) -> None:
    """Make the indices that large published versions lack. Where another sweeper is at it, leave it to that.

    Nobody writes to a published version, so nobody waits for this.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(sa.text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}):
            return
        try:
            for job_id, size in _large(connection):
                _make(connection, settings, job_id, size)
        finally:
            connection.execute(sa.text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})


def _large(connection: sa.Connection) -> list[tuple[UUID, int]]:
    """Return the published versions that are not small, and the bytes of each."""
    found = connection.execute(
        sa.text(
            "SELECT published_job_id, size FROM datasets, LATERAL pg_relation_size("
            "to_regclass('user_feature_versions_' || replace(published_job_id::text, '-', ''))) AS size"
            " WHERE size >= :large ORDER BY name"
        ),
        {"large": _LARGE_BYTES},
    )
    return [(job_id, size) for job_id, size in found]


def _make(connection: sa.Connection, settings: Settings, job_id: UUID, size: int) -> None:
    wanted = {f"by_{column}_{job_id.hex}": key for column, key in KEYS.items()}
    there = connection.execute(
        sa.text("SELECT relname FROM pg_class WHERE relname = ANY(:names) AND pg_table_is_visible(oid)"),
        {"names": list(wanted)},
    ).scalars()
    missing = wanted.keys() - set(there)
    if not missing:
        return
    partition = database.partition(job_id)
    for name in sorted(missing):
        # An index and what is sorted for it take less than the rows.
        if settings.database_is_embedded and disk.is_nearly_full(
            settings.state_dir, reserve_bytes_max=disk.LEFT_TO_DATABASE_BYTES_MAX, expected_bytes=size
        ):
            log.warning("no room for the indices of a version", extra={"job_id": str(job_id)})
            return
        connection.execute(sa.text(f'CREATE INDEX IF NOT EXISTS "{name}" ON {partition} ({wanted[name]}, user_id)'))
    # The planner knows nothing yet of the rows, nor what the keys are like.
    connection.execute(sa.text(f"ANALYZE {partition}"))
    log.info("made the indices of a version", extra={"job_id": str(job_id)})
