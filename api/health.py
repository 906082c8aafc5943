"""Is the process alive, and could a job run now?"""

from collections.abc import Callable
from http import HTTPStatus

from flask import Blueprint, Response, jsonify
from sqlalchemy.exc import SQLAlchemyError

from api import answers
from api.operations import Answer, described
from api.services import services
from worker import database, presence, queue

bp = Blueprint("health", __name__)


@bp.get("/healthz")
@described(Answer(answers.Health))
def healthz() -> Response:
    """The process is alive."""
    return jsonify(status="ok")


@bp.get("/readyz")
@described(Answer(answers.Readiness), Answer(answers.Readiness, HTTPStatus.SERVICE_UNAVAILABLE))
def readyz() -> tuple[Response, int]:
    """Whether a job could run now: 503 where a component is missing, and the answer says which."""
    of_database = _state(_database)
    worker = _state(_worker) if of_database == "ok" else "unknown without the database"
    components = {"database": of_database, "queue": _state(_queue), "worker": worker}
    ready = all(state == "ok" for state in components.values())
    status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    return jsonify(status="ok" if ready else "not ready", **components), status


def _state(check: Callable[[], str]) -> str:
    try:
        return check()
    except (SQLAlchemyError, queue.Unreachable) as error:
        return f"no answer ({type(error).__name__})"


def _database() -> str:
    with services().engine.connect() as connection:
        return "ok" if database.is_prepared(connection) else "no worker has prepared it yet"


def _queue() -> str:
    queue.ping(services().redis)
    return "ok"


def _worker() -> str:
    with services().engine.connect() as connection:
        workers = presence.count(connection)
    return "ok" if workers else f"no worker was heard of in the last {presence.SILENT_S} s"
