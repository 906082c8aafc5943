"""Which version of the features a request is about."""

import re
from http import HTTPStatus
from uuid import UUID

import sqlalchemy as sa

from api import parameters
from api.problems import Problem
from worker.database import partition
from worker.jobs import UnknownJob

# The columns of the view that tell about the version and not about a user.
ABOUT = ("dataset", "job_id", "computed_at")


def columns(connection: sa.Connection) -> list[str]:
    """The columns that the view has: a feature added to the catalogue needs no edit here."""
    return list(connection.execute(sa.text("SELECT * FROM user_features LIMIT 0")).keys())


def published(connection: sa.Connection, dataset: str) -> UUID:
    query = sa.text("SELECT published_job_id FROM datasets WHERE name = :dataset")
    job_id: UUID | None = connection.scalar(query, {"dataset": dataset})
    if not job_id:
        raise not_published(dataset)
    return job_id


def kept(connection: sa.Connection, text: str) -> UUID:
    try:
        job_id = parameters.job_id(text)
    except UnknownJob as error:
        raise _not_kept(text) from error
    query = sa.text("SELECT true FROM dataset_versions WHERE job_id = :id AND dropping_at IS NULL")
    if not connection.scalar(query, {"id": job_id}):
        raise _not_kept(text)
    return job_id


def dataset(connection: sa.Connection, job_id: UUID) -> str | None:
    """Return the dataset of a version."""
    query = sa.text("SELECT dataset FROM dataset_versions WHERE job_id = :id")
    name: str | None = connection.scalar(query, {"id": job_id})
    return name


# True as long as all rows are there: while a version is being dropped, its partition goes before the row that names it.
INTACT = "SELECT true FROM pg_inherits WHERE inhrelid = to_regclass(:partition) AND NOT inhdetachpending"


def refuse_going(connection: sa.Connection, job_id: UUID) -> None:
    """Call it after reading."""
    if not connection.scalar(sa.text(INTACT), {"partition": partition(job_id)}):
        raise _not_kept(str(job_id))


def position(connection: sa.Connection, cursor: str) -> tuple[UUID, int]:
    """Return the version that a cursor stays with, and the user after whom its page begins."""
    parts = parameters.unpack_cursor(cursor)
    if len(parts) != 2 or not re.fullmatch(r"-?[0-9]{1,19}", parts[1]):
        raise parameters.invalid_cursor()
    return kept(connection, parts[0]), int(parts[1])


def not_published(dataset: str) -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "not_published", f"nothing is published of a dataset {dataset!r}")


def _not_kept(text: str) -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "unknown_version", f"no version of a job {text!r} is kept")
