"""Which of a dataset's kept versions the views show, and moving that pointer to another one.

A job moves it as well (etl/publish.py). Whoever does holds the dataset's row, and so does the sweeper while it gives
versions up.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa


class UnknownDataset(Exception):  # noqa: N818
    """No job was ever asked for a dataset of this name."""


class NotPublishable(Exception):  # noqa: N818
    """The views may not show this job's version; the message says why."""


@dataclass(frozen=True)
class Version:
    """A version that is kept; `outcome` is that of its job."""

    job_id: UUID
    computed_at: datetime
    outcome: str
    published: bool


@dataclass(frozen=True)
class Publication:
    """A dataset's kept versions, newest first."""

    dataset: str
    versions: list[Version]

    @property
    def published(self) -> Version | None:
        return next((version for version in self.versions if version.published), None)


def get(connection: sa.Connection, dataset: str) -> Publication:
    """Return what is kept of the dataset. Raises UnknownDataset."""
    rows = connection.execute(
        sa.text("""
            SELECT job_id, computed_at, outcome, job_id IS NOT DISTINCT FROM published_job_id AS published
            FROM datasets LEFT JOIN dataset_versions ON dataset = name AND dropping_at IS NULL
            WHERE name = :dataset ORDER BY computed_at DESC, job_id DESC
        """),
        {"dataset": dataset},
    ).all()
    if not rows:
        raise UnknownDataset
    return Publication(dataset, [Version(**row._mapping) for row in rows if row.job_id])


def lock(connection: sa.Connection, dataset: str) -> UUID | None:
    """Return the job whose version is published; it stays that until the caller commits. Raises UnknownDataset."""
    row = connection.execute(
        sa.text("SELECT published_job_id FROM datasets WHERE name = :dataset FOR NO KEY UPDATE"), {"dataset": dataset}
    ).one_or_none()
    if not row:
        raise UnknownDataset
    published: UUID | None = row.published_job_id
    return published


def publish(connection: sa.Connection, dataset: str, job_id: UUID) -> None:
    """Release a held version, or roll back to an older one, in the transaction that has called lock().

    Raises NotPublishable.
    """
    # A statement of its own, after the lock: only then it sees what the sweeper gave up meanwhile.
    outcome = connection.scalar(
        sa.text(
            "SELECT outcome FROM dataset_versions WHERE job_id = :job_id AND dataset = :dataset AND dropping_at IS NULL"
        ),
        {"job_id": job_id, "dataset": dataset},
    )
    if not outcome:
        raise NotPublishable("no version of this job is kept of this dataset; its publication lists those that are")
    if outcome == "dry_run":
        raise NotPublishable("a dry run is never published; submit a job with the mode publish")
    connection.execute(
        sa.text(
            "UPDATE datasets SET published_job_id = :job_id"
            " WHERE name = :dataset AND published_job_id IS DISTINCT FROM :job_id"
        ),
        {"job_id": job_id, "dataset": dataset},
    )
