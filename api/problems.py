"""The one error shape: RFC 9457 problem+json with a stable `code`."""

import logging
from http import HTTPStatus
from typing import Any

import psycopg2
from flask import Flask, Response, json
from gunicorn.http.errors import ParseException
from psycopg2.errors import UndefinedColumn, UndefinedTable
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from api import request_ids
from worker.jobs import UnknownJob

log = logging.getLogger(__name__)


class Problem(Exception):  # noqa: N818 - the RFC's word
    """Ends the request with this status, code and sentence; `members` are further members of the body."""

    def __init__(
        self, status: HTTPStatus, code: str, detail: str, *, headers: dict[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}
        self.members = members


def init_app(app: Flask) -> None:
    app.register_error_handler(Problem, response)
    app.register_error_handler(UnknownJob, _unknown_job)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(ParseException, _malformed_body)
    app.register_error_handler(OperationalError, _database_away)
    app.register_error_handler(PoolTimeout, _database_away)
    app.register_error_handler(psycopg2.OperationalError, _database_away)
    app.register_error_handler(ProgrammingError, _schema_away)
    app.register_error_handler(psycopg2.ProgrammingError, _schema_away)
    app.register_error_handler(Exception, _internal_error)


def response(problem: Problem) -> Response:
    """Return the problem as an answer, for blueprints that turn a domain error into one."""
    body = {
        "type": "about:blank",
        "title": problem.status.phrase,
        "status": problem.status.value,
        "code": problem.code,
        "detail": problem.detail,
        **problem.members,
    }
    # ASCII: a request may have named something that is no text at all, such as half a surrogate pair.
    return Response(
        json.dumps(body, ensure_ascii=True, separators=(",", ":")),
        problem.status,
        problem.headers,
        mimetype="application/problem+json",
    )


# A status whose name and phrase are not the same in every Python.
_HTTP_CODES = {HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request_entity_too_large"}


def _http_error(error: HTTPException) -> Response:
    """Give what Flask and Werkzeug refuse (no such route, wrong method, bad Host) the same shape."""
    status = HTTPStatus(error.code or 500)
    headers = {name: value for name, value in error.get_headers() if name not in ("Content-Type", "Content-Length")}
    code = _HTTP_CODES.get(status, status.name.lower())
    return response(Problem(status, code, error.description or status.phrase, headers=headers))


def _malformed_body(_error: ParseException) -> Response:
    """What the server finds out only when a view reads the body: chunks that are none. It closes the connection."""
    return response(Problem(HTTPStatus.BAD_REQUEST, "bad_request", "the body is not sent as HTTP has it"))


def _unknown_job(_error: UnknownJob) -> Response:
    return response(Problem(HTTPStatus.NOT_FOUND, "unknown_job", "there is no job with this id"))


def _database_away(error: Exception) -> Response:
    log.warning("the database does not answer: %s", error)
    return _unavailable("database_unavailable", "the database does not answer at the moment; nothing was accepted")


def _schema_away(error: ProgrammingError | psycopg2.ProgrammingError) -> Response:
    """Between the start of the database and that of the first worker there are no tables."""
    cause = error.orig if isinstance(error, ProgrammingError) else error
    if not isinstance(cause, UndefinedTable | UndefinedColumn):
        return _internal_error(error)
    log.warning("the schema is not there yet: %s", cause)
    return _unavailable("schema_not_ready", "no worker has prepared the database yet; nothing was accepted")


def _unavailable(code: str, detail: str) -> Response:
    return response(Problem(HTTPStatus.SERVICE_UNAVAILABLE, code, detail, headers={"Retry-After": "2"}))


def _internal_error(_error: Exception) -> Response:
    log.exception("internal error")
    return response(
        Problem(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "internal_error",
            "internal error; the log has it under this request_id",
            request_id=request_ids.current(),
        )
    )
