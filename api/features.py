"""The published features: rows, one user, the summary.

The columns are those of the views, whatever the catalogue has put there.
"""

import re
from http import HTTPStatus
from threading import BoundedSemaphore
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from flask import Blueprint, Response, jsonify

from api import parameters
from api.problems import Problem
from api.services import services
from worker import explanations
from worker.explanations import InputChanged, TooSlow
from worker.jobs import UnknownJob
from worker.settings import DEFAULT_DATASET

bp = Blueprint("features", __name__, url_prefix="/api/v1")

# Each reads the dataset's files once: one at a time and process.
_explaining = BoundedSemaphore()

_USER_ID = re.compile(r"-?[0-9]{1,19}")
_FIRST_USER = -(1 << 63)


@bp.get("/features")
def rows() -> Response:
    """A page of users by id; the pages after it stay with its version, whatever is published meanwhile."""
    values = parameters.query("dataset", "job", "user_id", "limit", "cursor")
    limit = parameters.limit(values)
    with services().engine.connect() as connection:
        if "cursor" in values:
            job_id, after = _position(connection, values["cursor"])
        else:
            job_id, after = _version(connection, values), None
        condition, bound = ("user_id >= :bound", _FIRST_USER) if after is None else ("user_id > :bound", after)
        if "user_id" in values:
            condition, bound = "user_id = :bound", _user_id(values["user_id"])
        found = _rows(connection, job_id, condition, bound, limit + 1)
    more = len(found) > limit
    next_cursor = parameters.pack_cursor(job_id, found[limit - 1]["user_id"]) if more else None
    return jsonify(items=found[:limit], next_cursor=next_cursor)


@bp.get("/features/<user_id>")
def user(user_id: str) -> Response:
    """One user; with `explain=true` also the input lines behind each number."""
    values = parameters.query("dataset", "job", "explain")
    explained = parameters.one_of(values, "explain", ("true", "false")) == "true"
    with services().engine.connect() as connection:
        job_id = _version(connection, values)
        number = _user_id(user_id)
        found = _rows(connection, job_id, "user_id = :bound", number, 1)
        if not found:
            raise Problem(HTTPStatus.NOT_FOUND, "unknown_user", f"this version has no user {number}")
        try:
            asked = explanations.question(connection, services().settings, job_id, found[0]) if explained else None
        except InputChanged as error:
            raise _input_changed(error) from error
    return jsonify(found[0] | ({"explanation": _explanation(asked)} if asked else {}))


def _explanation(asked: dict[str, Any]) -> dict[str, Any]:
    if not _explaining.acquire(blocking=False):
        raise _no_explanation("another explanation is being looked for")
    try:
        return explanations.answer(asked)
    except InputChanged as error:
        raise _input_changed(error) from error
    except TooSlow as error:
        raise _no_explanation(f"the files could not be read within {explanations.PATIENCE_S} s") from error
    finally:
        _explaining.release()


def _input_changed(error: InputChanged) -> Problem:
    return Problem(HTTPStatus.CONFLICT, "input_changed", f"{error}; its lines cannot be named any more")


def _no_explanation(reason: str) -> Problem:
    headers = {"Retry-After": "2"}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "explanation_unavailable", f"{reason}; try again", headers=headers)


@bp.get("/summary")
def summary() -> Response:
    values = parameters.query("dataset")
    dataset = values.get("dataset", DEFAULT_DATASET)
    with services().engine.connect() as connection:
        # Every column that the view has: a feature added to the catalogue needs no edit here.
        query = sa.text("SELECT * FROM experiment_summary WHERE dataset = :dataset")
        row = connection.execute(query, {"dataset": dataset}).mappings().one_or_none()
    if not row:
        raise _not_published(dataset)
    return jsonify(dict(row))


def _version(connection: sa.Connection, values: dict[str, str]) -> UUID:
    """Which version is asked for: a kept one by its job, or the published one of a dataset."""
    if "job" in values:
        if "dataset" in values:
            raise parameters.invalid("job", "a job belongs to one dataset: give one of the two")
        return _kept(connection, values["job"])
    dataset = values.get("dataset", DEFAULT_DATASET)
    query = sa.text("SELECT published_job_id FROM datasets WHERE name = :dataset")
    published: UUID | None = connection.scalar(query, {"dataset": dataset})
    if not published:
        raise _not_published(dataset)
    return published


def _kept(connection: sa.Connection, text: str) -> UUID:
    try:
        job_id = parameters.job_id(text)
    except UnknownJob as error:
        raise _not_kept() from error
    if not connection.scalar(sa.text("SELECT true FROM dataset_versions WHERE job_id = :id"), {"id": job_id}):
        raise _not_kept()
    return job_id


def _rows(connection: sa.Connection, job_id: UUID, condition: str, bound: int, limit: int) -> list[dict[str, Any]]:
    columns = connection.execute(sa.text("SELECT * FROM user_features LIMIT 0")).keys()
    of_version = ("dataset", "job_id", "computed_at")
    names = ", ".join(f'{"version" if name in of_version else "row"}."{name}"' for name in columns)
    found = connection.execute(
        sa.text(
            f"SELECT {names} FROM dataset_versions AS version JOIN user_feature_versions AS row USING (job_id)"
            f" WHERE job_id = :job_id AND row.{condition} ORDER BY row.user_id LIMIT :limit"
        ),
        {"job_id": job_id, "bound": bound, "limit": limit},
    )
    rows = [dict(row) for row in found.mappings()]
    if not rows:
        _refuse_going(connection, job_id)
    return rows


def _refuse_going(connection: sa.Connection, job_id: UUID) -> None:
    """No row may mean that the version is being dropped: its partition goes before the row that names it."""
    query = "SELECT true FROM pg_inherits WHERE inhrelid = to_regclass(:partition) AND NOT inhdetachpending"
    if not connection.scalar(sa.text(query), {"partition": f"user_feature_versions_{job_id.hex}"}):
        raise _not_kept()


def _not_kept() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "unknown_version", "no version of this job is kept")


def _position(connection: sa.Connection, cursor: str) -> tuple[UUID, int]:
    parts = parameters.unpack_cursor(cursor)
    if len(parts) != 2 or not _USER_ID.fullmatch(parts[1]):
        raise parameters.invalid_cursor()
    return _kept(connection, parts[0]), int(parts[1])


def _user_id(text: str) -> int:
    if not _USER_ID.fullmatch(text) or not -(1 << 63) <= int(text) < 1 << 63:
        raise parameters.invalid("user_id", "a 64-bit whole number")
    return int(text)


def _not_published(dataset: str) -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "not_published", f"nothing is published of a dataset {dataset!r}")
