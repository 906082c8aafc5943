"""The published features: rows, one user, the summary."""

from http import HTTPStatus
from threading import BoundedSemaphore
from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa
from flask import Blueprint, Response, jsonify
from pydantic import Field
from typing_extensions import TypedDict
from werkzeug.wrappers import Response as BaseResponse

from api import answers, exports, parameters, versions
from api.exports import Formatted, Known
from api.operations import Answer, operation
from api.parameters import LIMIT_DEFAULT, Flag, JobName, OneOf, Page, Text, UserId
from api.problems import Problem
from api.rows import BY_ID, FOUND_MAX, SORTS, Rows
from api.services import services
from worker import explanations
from worker.explanations import InputChanged, TooSlow
from worker.settings import DEFAULT_DATASET

bp = Blueprint("features", __name__, url_prefix="/api/v1")

# Each reads the dataset's files once: one at a time and process.
_explaining = BoundedSemaphore()

_SEARCH = (
    "a user's id, or how the name or the email begins, in either case; of more than"
    f" {FOUND_MAX} names, or emails, the first in alphabetical order, but in a file all"
)


class VersionQuery(TypedDict, total=False):
    """The published version of a dataset, or the kept one of a job."""

    dataset: Text
    job: JobName


class _RowsQuery(VersionQuery, Page, Formatted, total=False):
    sort: Annotated[str, OneOf(SORTS)]
    search: Annotated[Text, Field(description=_SEARCH)]
    user_id: UserId


class _UserQuery(VersionQuery, total=False):
    explain: Flag


class _SummaryQuery(TypedDict, total=False):
    dataset: Text


NO_VERSION = {HTTPStatus.NOT_FOUND: ("not_published", "unknown_version")}


@bp.get("/features")
@operation(*exports.answers(answers.FeatureRows), problems={**NO_VERSION, **exports.PROBLEMS}, limit=1)
def rows(query: _RowsQuery, headers: Known) -> BaseResponse:  # noqa: ARG001 - werkzeug reads If-None-Match
    """A page of users, by id unless sorted otherwise; the pages after it stay with its version. Or all, as a file."""
    format_ = exports.wanted(query, paging=("sort", "limit", "cursor"))
    if format_:
        return _file(query, format_)
    limit = query.get("limit", LIMIT_DEFAULT)
    with services().engine.connect() as connection:
        if "cursor" in query:
            job_id, after = versions.position(connection, query["cursor"])
            if "dataset" in query and versions.dataset(connection, job_id) != query["dataset"]:
                raise parameters.invalid_cursor()
        else:
            job_id, after = version(connection, query), None
        asked = _asked(connection, job_id, query)
        found = asked.page(limit + 1, sort=query.get("sort", BY_ID), after=after)
    more = len(found) > limit
    next_cursor = parameters.pack_cursor(job_id, found[limit - 1]["user_id"]) if more else None
    return exports.page(items=found[:limit], next_cursor=next_cursor)


def _file(query: _RowsQuery, format_: str) -> BaseResponse:
    with services().engine.connect() as connection:
        job_id = version(connection, query)
        table = _asked(connection, job_id, query).table()
        versions.refuse_going(connection, job_id)
    return exports.answer(table, format_, f"features-{job_id}")


def _asked(connection: sa.Connection, job_id: UUID, query: _RowsQuery) -> Rows:
    return Rows(connection, job_id, query.get("user_id"), query.get("search", "").strip())


@bp.get("/features/<user_id>")
@operation(
    Answer(answers.User),
    problems={
        HTTPStatus.NOT_FOUND: (*NO_VERSION[HTTPStatus.NOT_FOUND], "unknown_user"),
        HTTPStatus.CONFLICT: ("input_changed",),
        HTTPStatus.SERVICE_UNAVAILABLE: ("explanation_unavailable",),
    },
)
def user(user_id: UserId, query: _UserQuery) -> Response:
    """One user; with `explain=true` also the input lines behind each number."""
    with services().engine.connect() as connection:
        job_id = version(connection, query)
        found = Rows(connection, job_id, user_id).page(1)
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


def version(connection: sa.Connection, query: VersionQuery) -> UUID:
    """Which version is asked for: a kept one by its job, or the published one of a dataset."""
    if "job" in query:
        if "dataset" in query:
            raise parameters.invalid("job", "a job belongs to one dataset: give one of the two")
        return versions.kept(connection, query["job"])
    return versions.published(connection, query.get("dataset", DEFAULT_DATASET))
