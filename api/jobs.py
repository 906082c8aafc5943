"""Jobs: submit, list, show, cancel, retry."""

from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from flask import Blueprint, Response, jsonify, request
from pydantic import Field, StringConstraints
from typing_extensions import TypedDict
from werkzeug.wrappers import Response as BaseResponse

from api import job_answer, parameters
from api.job_answer import as_json, link
from api.operations import Answer, Header, Nothing, operation
from api.parameters import LIMIT_DEFAULT, NUMBER, DatasetName, JobId, OneOf, Page
from api.problems import Problem
from api.services import services
from worker import job_log, jobs
from worker.jobs import AlreadyFinished, IdempotencyConflict, Job, QueueFull, Request, UnknownJob
from worker.settings import DEFAULT_DATASET, ENGINES

bp = Blueprint("jobs", __name__, url_prefix="/api/v1/jobs")

WAIT_MAX_S = 30
RETRY_AFTER_S = 1

# The answer to what was accepted.
Accepted = tuple[Response, int, dict[str, str]]


class JobRequest(TypedDict, total=False):
    """What a job is asked to do; what is not said comes from the settings."""

    dataset: Annotated[str, Field(description="a dataset's name", examples=["default"])]
    mode: Annotated[str, OneOf(jobs.MODES)]
    engine: Annotated[str, OneOf(ENGINES)]
    force: Annotated[bool, Field(description="true or false")]
    max_rejected_ratio: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, description="a number from 0 to 1")]


_Key = TypedDict(
    "_Key",
    {
        "Idempotency-Key": Annotated[
            str,
            StringConstraints(pattern=r"^[\x21-\x7e]+$", min_length=1, max_length=200),
            Field(description="1 to 200 visible ASCII characters"),
        ]
    },
    total=False,
)

_LOCATION = Header("Location", {"type": "string", "format": "uri-reference"}, "where the job is")
_RETRY_AFTER = Header("Retry-After", {"type": "integer"}, "seconds after which to look at the job")
_UNTIL_DONE = replace(_RETRY_AFTER, required=False)
_TAG = Header("ETag", {"type": "string"}, "of this state of the job, for If-None-Match")


_REFUSED: dict[HTTPStatus, tuple[str, ...]] = {
    HTTPStatus.NOT_FOUND: ("unknown_dataset",),
    HTTPStatus.CONFLICT: ("engine_unavailable",),
    HTTPStatus.UNPROCESSABLE_ENTITY: ("idempotency_conflict",),
    HTTPStatus.TOO_MANY_REQUESTS: ("queue_full",),
}


@bp.post("")
@operation(Answer(job_answer.Job, HTTPStatus.ACCEPTED, (_LOCATION, _UNTIL_DONE)), problems=_REFUSED)
def submit(headers: _Key, body: JobRequest) -> Accepted:
    """Accept a job; the same key brings back the same job."""
    return _submit(_job_request(body), headers)


@bp.post("/<job_id>/retry")
@operation(
    Answer(job_answer.Job, HTTPStatus.ACCEPTED, (_LOCATION, _UNTIL_DONE)),
    problems=_REFUSED
    | {
        HTTPStatus.NOT_FOUND: ("unknown_job", "unknown_dataset"),
        HTTPStatus.CONFLICT: ("not_finished", "engine_unavailable"),
    },
)
def retry(job_id: JobId, headers: _Key, body: Nothing) -> Accepted:  # noqa: ARG001 - that it is nothing is checked
    """A new job that is asked for the same, once this one has ended."""
    with services().engine.connect() as connection:
        parent = jobs.get(connection, job_id)
    if not parent.is_final:
        raise Problem(HTTPStatus.CONFLICT, "not_finished", f"the job is {parent.state}; it can be cancelled")
    _refuse_unknown_dataset(parent.dataset)
    _refuse_missing_engine(parent.engine)
    return _submit(parent.request, headers, parent)


@bp.post("/<job_id>/cancel")
@operation(
    Answer(job_answer.Job, HTTPStatus.ACCEPTED, (_LOCATION,)),
    problems={HTTPStatus.NOT_FOUND: ("unknown_job",), HTTPStatus.CONFLICT: ("already_finished",)},
    job_id=parameters.EXAMPLE_WAITING,
)
def cancel(job_id: JobId, body: Nothing) -> Accepted:  # noqa: ARG001 - that it is nothing is checked
    """End a job at once; an attempt that is at work stops within two seconds, and publishes nothing."""
    try:
        with services().engine.begin() as connection:
            job = jobs.cancel(connection, job_id)
            job_log.add(connection, job_id, "cancelled by a client")
    except AlreadyFinished as error:
        raise Problem(HTTPStatus.CONFLICT, "already_finished", f"the job is {error} already") from error
    return _accepted(job)


def _submit(job_request: Request, headers: _Key, parent: Job | None = None) -> Accepted:
    settings = services().settings
    try:
        with services().engine.begin() as connection:
            job, is_new = jobs.submit(
                connection,
                job_request,
                max_queued_jobs=settings.max_queued_jobs,
                idempotency_key=headers.get("Idempotency-Key"),
                parent_id=parent.id if parent else None,
            )
    except QueueFull as error:
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            "queue_full",
            f"as many jobs wait as may (MAX_QUEUED_JOBS={settings.max_queued_jobs}); nothing was accepted",
            headers={"Retry-After": "10"},
        ) from error
    except IdempotencyConflict as error:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "idempotency_conflict",
            "Idempotency-Key: this key was used for another request; nothing was accepted",
        ) from error
    if is_new:
        services().bell.ring_soon(job.id, job.dataset)
    return _accepted(job)


def _accepted(job: Job) -> Accepted:
    headers = {"Location": link(job)} | ({} if job.is_final else {"Retry-After": str(RETRY_AFTER_S)})
    return jsonify(as_json(job)), HTTPStatus.ACCEPTED, headers


class _NewestQuery(Page, total=False):
    state: Annotated[str, OneOf(jobs.STATES)]
    dataset: DatasetName


@bp.get("")
@operation(Answer(job_answer.Jobs), limit=1)
def newest(query: _NewestQuery) -> Response:
    """A page of jobs, newest first."""
    limit = query.get("limit", LIMIT_DEFAULT)
    try:
        after = parameters.job_id(query["cursor"]) if "cursor" in query else None
        with services().engine.connect() as connection:
            found = jobs.newest(
                connection, limit=limit + 1, after=after, state=query.get("state"), dataset=query.get("dataset")
            )
    except UnknownJob as error:
        raise parameters.invalid_cursor() from error
    next_cursor = str(found[limit - 1].id) if len(found) > limit else None
    return jsonify(items=[as_json(job) for job in found[:limit]], next_cursor=next_cursor)


class _ShowQuery(TypedDict, total=False):
    wait: Annotated[float, Field(ge=0, le=WAIT_MAX_S, description=f"seconds, from 0 to {WAIT_MAX_S}"), NUMBER]


_Known = TypedDict(
    "_Known", {"If-None-Match": Annotated[str, Field(description="the tag of what is known")]}, total=False
)


@bp.get("/<job_id>")
@operation(
    Answer(job_answer.Job, headers=(_TAG, _UNTIL_DONE)),
    Answer(None, HTTPStatus.NOT_MODIFIED, (_TAG, _UNTIL_DONE)),
    problems={HTTPStatus.NOT_FOUND: ("unknown_job",)},
)
def show(job_id: JobId, query: _ShowQuery, headers: _Known) -> BaseResponse:  # noqa: ARG001 - werkzeug reads If-None-Match
    """A job; with `wait` as soon as it is done, or after so many seconds."""
    job = _wait(job_id, query.get("wait", 0))
    response = jsonify(as_json(job))
    if not job.is_final:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    response.add_etag()
    return response.make_conditional(request)


def _wait(job_id: UUID, seconds: float) -> Job:
    """Return the job when it is finished or the time is over."""
    job = _look(job_id)
    if job.is_final or not seconds:
        return job
    return services().watch.wait(job.id, seconds) or _look(job_id)


def _look(job_id: UUID) -> Job:
    return jobs.look(services().looks, job_id)


def _job_request(body: JobRequest) -> Request:
    settings = services().settings
    fields: dict[str, Any] = {
        "dataset": DEFAULT_DATASET,
        "mode": "publish",
        "engine": settings.etl_engine,
        "force": False,
        "max_rejected_ratio": settings.max_rejected_ratio,
    }
    fields.update(body)
    wanted = Request(**fields)
    _refuse_unknown_dataset(wanted.dataset)
    _refuse_missing_engine(wanted.engine)
    return wanted


def _refuse_unknown_dataset(name: str) -> None:
    if not services().settings.directory(name):
        raise Problem(HTTPStatus.NOT_FOUND, "unknown_dataset", f"there is no dataset {name!r}")


def _refuse_missing_engine(name: str) -> None:
    if name == "spark" and not services().settings.spark_remote:
        raise Problem(
            HTTPStatus.CONFLICT,
            "engine_unavailable",
            "engine: there is no Spark cluster here (SPARK_REMOTE is not set); nothing was accepted",
        )
