"""The rejections of a job: JSON in pages, or all of them as a file."""

import re
from http import HTTPStatus
from typing import Any

import sqlalchemy as sa
from flask import Blueprint
from werkzeug.wrappers import Response

from api import answers, exports, parameters, versions
from api.exports import Formatted, Known
from api.operations import operation
from api.parameters import LIMIT_DEFAULT, JobId, Page, Text
from api.problems import Problem
from api.services import services
from worker import jobs
from worker.jobs import Job

bp = Blueprint("rejections", __name__, url_prefix="/api/v1/jobs")

_COLUMNS = 'file, line, "column", code, message, value'

# They go in the order of their ids. `first` is that of the first one, null where there is none.
_INTACT = "SELECT :first IS NULL OR EXISTS (SELECT FROM rejections WHERE job_id = :job_id AND id = :first)"


class _Query(Page, Formatted, total=False):
    file: Text
    code: Text


@bp.get("/<job_id>/rejections")
@operation(
    *exports.answers(answers.Rejections),
    problems={HTTPStatus.NOT_FOUND: ("unknown_job", "unknown_version"), **exports.PROBLEMS},
    limit=1,
)
def rejections(job_id: JobId, query: _Query, headers: Known) -> Response:  # noqa: ARG001 - werkzeug reads If-None-Match
    """The lines and items that did not count, in the order of the files and their lines."""
    format_ = exports.wanted(query, paging=("limit", "cursor"))
    if format_:
        return _file(job_id, query, format_)
    limit = query.get("limit", LIMIT_DEFAULT)
    after = parameters.unpack_cursor(query["cursor"])[0] if "cursor" in query else "0"
    if not re.fullmatch(r"[0-9]{1,18}", after):
        raise parameters.invalid_cursor()
    with services().engine.connect() as connection:
        job = jobs.get(connection, job_id)
        statement, values = _page(query)
        values |= {"job_id": job.id, "after": int(after), "limit": limit + 1}
        found = connection.execute(sa.text(statement), values)
        rows = [dict(row) for row in found.mappings()]
        _refuse_absent(connection, job)
    next_cursor = parameters.pack_cursor(rows[limit - 1]["id"]) if len(rows) > limit else None
    items = [{name: value for name, value in row.items() if name != "id"} for row in rows[:limit]]
    return exports.page(items=items, next_cursor=next_cursor)


def _file(job_id: JobId, query: _Query, format_: str) -> Response:
    with services().engine.connect() as connection:
        job = jobs.get(connection, job_id)
        first = connection.scalar(sa.text("SELECT min(id) FROM rejections WHERE job_id = :job_id"), {"job_id": job.id})
        _refuse_absent(connection, job)
    statement, values = _page(query)
    table = exports.table(statement, _INTACT, values | {"job_id": job.id, "first": first})
    return exports.answer(table, format_, f"rejections-{job.id}", is_final=job.is_final)


def _refuse_absent(connection: sa.Connection, job: Job) -> None:
    """Call it after reading: an empty list would say that nothing was rejected.

    Rejections go with their version, and those of an unchanged job are its publisher's.
    """
    if job.has_version:
        versions.kept(connection, str(job.id))
    elif job.outcome == "unchanged":
        raise Problem(HTTPStatus.NOT_FOUND, "unknown_version", f"{job.outcome_detail}; ask for that job's rejections")


def _page(query: _Query) -> tuple[str, dict[str, Any]]:
    filters: dict[str, Any] = {name: value for name, value in query.items() if name in ("file", "code")}
    conditions = ["job_id = :job_id", "(:after IS NULL OR id > :after)", *(f"{name} = :{name}" for name in filters)]
    return f"SELECT id, {_COLUMNS} FROM rejections WHERE {' AND '.join(conditions)} ORDER BY id LIMIT :limit", filters
