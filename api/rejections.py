"""The rejections of a job: JSON in pages, or all of them as CSV."""

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from flask import Blueprint, Response, jsonify, request

from api import answers, parameters, versions
from api.exports import csv_lines
from api.operations import Answer, operation
from api.parameters import LIMIT_DEFAULT, JobId, Page, Text
from api.problems import Problem
from api.services import services
from worker import jobs
from worker.jobs import Job

bp = Blueprint("rejections", __name__, url_prefix="/api/v1/jobs")

_COLUMNS = ("file", "line", "column", "code", "message", "value")
_FETCHED_ROWS = 1000


class _Query(Page, total=False):
    file: Text
    code: Text


@bp.get("/<job_id>/rejections")
@operation(
    Answer(answers.Rejections, csv=True), problems={HTTPStatus.NOT_FOUND: ("unknown_job", "unknown_version")}, limit=1
)
def rejections(job_id: JobId, query: _Query) -> Response:
    """The lines and items that did not count, in the order of the files and their lines."""
    if request.accept_mimetypes.best_match(["application/json", "text/csv"]) == "text/csv":
        return _as_csv(job_id, query)
    limit = query.get("limit", LIMIT_DEFAULT)
    after = parameters.unpack_cursor(query["cursor"])[0] if "cursor" in query else "0"
    if not re.fullmatch(r"[0-9]{1,18}", after):
        raise parameters.invalid_cursor()
    with services().engine.connect() as connection:
        job = jobs.get(connection, job_id)
        statement, bound = _statement(query, "id > :after", "LIMIT :limit")
        found = connection.execute(statement, bound | {"job_id": job.id, "after": int(after), "limit": limit + 1})
        rows = [dict(row) for row in found.mappings()]
        _refuse_absent(connection, job)
    next_cursor = parameters.pack_cursor(rows[limit - 1]["id"]) if len(rows) > limit else None
    items = [{name: row[name] for name in _COLUMNS} for row in rows[:limit]]
    return jsonify(items=items, next_cursor=next_cursor)


def _as_csv(job_id: UUID, query: _Query) -> Response:
    for name in ("limit", "cursor"):
        if name in query:
            raise parameters.invalid(name, "CSV holds all rejections: there are no pages")
    with services().engine.connect() as connection:
        job = jobs.get(connection, job_id)
        _refuse_absent(connection, job)
    headers = {"Content-Disposition": f'attachment; filename="rejections-{job.id}.csv"', "Vary": "Accept"}
    return Response(_csv_lines(services().engine, job, query), mimetype="text/csv", headers=headers)


def _refuse_absent(connection: sa.Connection, job: Job) -> None:
    """Call it after reading: an empty list would say that nothing was rejected.

    Rejections go with their version, and those of an unchanged job are its publisher's.
    """
    if job.has_version:
        versions.kept(connection, str(job.id))
    elif job.outcome == "unchanged":
        raise Problem(HTTPStatus.NOT_FOUND, "unknown_version", f"{job.outcome_detail}; ask for that job's rejections")


def _csv_lines(engine: sa.Engine, job: Job, query: _Query) -> Iterator[str]:
    """Some rows at a time, each time with a connection from the pool: a slow reader must not keep one from the others.

    A finished job's rejections do not change, but they go with its version. Then the answer breaks off, for the last
    look finds out: what ends as it should is complete.
    """
    yield csv_lines([_COLUMNS])
    statement, bound = _statement(query, "id > :after", "LIMIT :limit")
    after = 0
    while True:
        with engine.connect() as connection:
            values = bound | {"job_id": job.id, "after": after, "limit": _FETCHED_ROWS}
            rows = connection.execute(statement, values).all()
            if not rows:
                _refuse_absent(connection, job)
                return
        after = rows[-1].id
        yield csv_lines(row[1:] for row in rows)


def _statement(query: _Query, condition: str, end: str) -> tuple[sa.TextClause, dict[str, Any]]:
    filters: dict[str, Any] = {name: value for name, value in query.items() if name in ("file", "code")}
    conditions = ["job_id = :job_id", condition, *(f"{name} = :{name}" for name in filters)]
    return sa.text(
        'SELECT id, file, line, "column", code, message, value FROM rejections'
        f" WHERE {' AND '.join(conditions)} ORDER BY id {end}"
    ), filters
