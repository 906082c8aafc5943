"""The published features: rows, one user, the summary.

The columns are those of the views, whatever the catalogue has put there.
"""

from http import HTTPStatus
from threading import BoundedSemaphore
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from flask import Blueprint, Response, jsonify
from typing_extensions import TypedDict

from api import answers, parameters, versions
from api.operations import Answer, operation
from api.parameters import LIMIT_DEFAULT, Flag, JobName, Page, Text, UserId
from api.problems import Problem
from api.services import services
from worker import explanations
from worker.explanations import InputChanged, TooSlow
from worker.settings import DEFAULT_DATASET

bp = Blueprint("features", __name__, url_prefix="/api/v1")

# Each reads the dataset's files once: one at a time and process.
_explaining = BoundedSemaphore()

_FIRST_USER = -(1 << 63)


class _VersionQuery(TypedDict, total=False):
    """The published version of a dataset, or the kept one of a job."""

    dataset: Text
    job: JobName


class _RowsQuery(_VersionQuery, Page, total=False):
    user_id: UserId


class _UserQuery(_VersionQuery, total=False):
    explain: Flag


class _SummaryQuery(TypedDict, total=False):
    dataset: Text


_NO_VERSION = ("not_published", "unknown_version")


@bp.get("/features")
@operation(Answer(answers.FeatureRows), problems={HTTPStatus.NOT_FOUND: _NO_VERSION})
def rows(query: _RowsQuery) -> Response:
    """A page of users by id; the pages after it stay with its version, whatever is published meanwhile."""
    limit = query.get("limit", LIMIT_DEFAULT)
    with services().engine.connect() as connection:
        if "cursor" in query:
            job_id, after = versions.position(connection, query["cursor"])
            if "dataset" in query and versions.dataset(connection, job_id) != query["dataset"]:
                raise parameters.invalid_cursor()
        else:
            job_id, after = _version(connection, query), None
        condition, bound = ("user_id >= :bound", _FIRST_USER) if after is None else ("user_id > :bound", after)
        if "user_id" in query:
            condition, bound = "user_id = :bound", query["user_id"]
        found = _rows(connection, job_id, condition, bound, limit + 1)
    more = len(found) > limit
    next_cursor = parameters.pack_cursor(job_id, found[limit - 1]["user_id"]) if more else None
    return jsonify(items=found[:limit], next_cursor=next_cursor)


@bp.get("/features/<user_id>")
@operation(
    Answer(answers.User),
    problems={
        HTTPStatus.NOT_FOUND: (*_NO_VERSION, "unknown_user"),
        HTTPStatus.CONFLICT: ("input_changed",),
        HTTPStatus.SERVICE_UNAVAILABLE: ("explanation_unavailable",),
    },
)
def user(user_id: UserId, query: _UserQuery) -> Response:
    """One user; with `explain=true` also the input lines behind each number."""
    with services().engine.connect() as connection:
        job_id = _version(connection, query)
        found = _rows(connection, job_id, "user_id = :bound", user_id, 1)
        if not found:
            raise Problem(HTTPStatus.NOT_FOUND, "unknown_user", f"this version has no user {user_id}")
        try:
            explained = query.get("explain", False)
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
@operation(Answer(answers.Summary), problems={HTTPStatus.NOT_FOUND: ("not_published",)})
def summary(query: _SummaryQuery) -> Response:
    """The published numbers about a dataset as a whole."""
    dataset = query.get("dataset", DEFAULT_DATASET)
    with services().engine.connect() as connection:
        # Every column that the view has: a feature added to the catalogue needs no edit here.
        statement = sa.text("SELECT * FROM experiment_summary WHERE dataset = :dataset")
        row = connection.execute(statement, {"dataset": dataset}).mappings().one_or_none()
    if not row:
        raise versions.not_published(dataset)
    return jsonify(dict(row))


def _version(connection: sa.Connection, query: _VersionQuery) -> UUID:
    """Which version is asked for: a kept one by its job, or the published one of a dataset."""
    if "job" in query:
        if "dataset" in query:
            raise parameters.invalid("job", "a job belongs to one dataset: give one of the two")
        return versions.kept(connection, query["job"])
    return versions.published(connection, query.get("dataset", DEFAULT_DATASET))


def _rows(connection: sa.Connection, job_id: UUID, condition: str, bound: int, limit: int) -> list[dict[str, Any]]:
    names = ", ".join(
        f'{"version" if name in versions.ABOUT else "row"}."{name}"' for name in versions.columns(connection)
    )
    found = connection.execute(
        sa.text(
            f"SELECT {names} FROM dataset_versions AS version JOIN user_feature_versions AS row USING (job_id)"
            f" WHERE job_id = :job_id AND row.{condition} ORDER BY row.user_id LIMIT :limit"
        ),
        {"job_id": job_id, "bound": bound, "limit": limit},
    )
    rows = [dict(row) for row in found.mappings()]
    if not rows:
        versions.refuse_going(connection, job_id)
    return rows
