"""Jobs: submit, list, show, cancel, retry."""

import logging
import re
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, jsonify, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from api import parameters
from api.problems import Problem
from api.services import services
from worker import jobs, queue
from worker.jobs import AlreadyFinished, IdempotencyConflict, Job, QueueFull, Request, UnknownJob
from worker.settings import DEFAULT_DATASET, ENGINES

bp = Blueprint("jobs", __name__, url_prefix="/api/v1/jobs")
log = logging.getLogger(__name__)

WAIT_MAX_S = 30
RETRY_AFTER_S = 1

# The answer to what was accepted and is not done yet.
Accepted = tuple[Response, int, dict[str, str]]

_STAGES = ("queued", "compare", "extract", "validate", "derive", "load", "publish")
_KEY = re.compile(r"[\x21-\x7e]{1,200}")


@bp.post("")
def submit() -> Accepted:
    return _submit(_job_request(parameters.json_body()))


@bp.post("/<job_id>/retry")
def retry(job_id: str) -> Accepted:
    """A new job that is asked for the same, once this one has ended."""
    parameters.refuse_unknown(parameters.json_body(), ())
    with services().engine.connect() as connection:
        parent = jobs.get(connection, parameters.job_id(job_id))
    if not parent.is_final:
        raise Problem(HTTPStatus.CONFLICT, "not_finished", f"the job is {parent.state}; it can be cancelled")
    _refuse_unknown_dataset(parent.dataset)
    return _submit(parent.request, parent)


@bp.post("/<job_id>/cancel")
def cancel(job_id: str) -> Accepted:
    """End a job at once; an attempt that is at work stops within two seconds, and publishes nothing."""
    parameters.refuse_unknown(parameters.json_body(), ())
    try:
        with services().engine.begin() as connection:
            job = jobs.cancel(connection, parameters.job_id(job_id))
    except AlreadyFinished as error:
        raise Problem(HTTPStatus.CONFLICT, "already_finished", f"the job is {error} already") from error
    return _accepted(job)


def _submit(job_request: Request, parent: Job | None = None) -> Accepted:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise parameters.invalid("Idempotency-Key", "1 to 200 visible ASCII characters")
    settings = services().settings
    try:
        with services().engine.begin() as connection:
            job, is_new = jobs.submit(
                connection,
                job_request,
                max_queued_jobs=settings.max_queued_jobs,
                idempotency_key=key,
                parent_id=parent.id if parent else None,
            )
    except QueueFull as error:
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            "queue_full",
            f"{settings.max_queued_jobs} jobs are waiting already; nothing was accepted",
            headers={"Retry-After": "10"},
        ) from error
    except IdempotencyConflict as error:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "idempotency_conflict",
            "Idempotency-Key: this key was used for another request; nothing was accepted",
        ) from error
    if is_new:
        _ring(job)
    return _accepted(job)


def _accepted(job: Job) -> Accepted:
    headers = {"Location": _link(job)} | ({} if job.is_final else {"Retry-After": str(RETRY_AFTER_S)})
    return jsonify(as_json(job)), HTTPStatus.ACCEPTED, headers


def _ring(job: Job) -> None:
    try:
        services().bell.ring(job.id)
    except queue.Unreachable as error:
        # The row is the promise, so the answer is 202 all the same.
        log.warning("the sweeper will ring: %s", error, extra={"job_id": str(job.id)})


@bp.get("")
def newest() -> Response:
    values = parameters.query("state", "dataset", "limit", "cursor")
    limit = parameters.limit(values)
    state = parameters.one_of(values, "state", jobs.STATES)
    try:
        after = parameters.job_id(values["cursor"]) if "cursor" in values else None
        with services().engine.connect() as connection:
            found = jobs.newest(connection, limit=limit + 1, after=after, state=state, dataset=values.get("dataset"))
    except UnknownJob as error:
        raise parameters.invalid_cursor() from error
    next_cursor = str(found[limit - 1].id) if len(found) > limit else None
    return jsonify(items=[as_json(job) for job in found[:limit]], next_cursor=next_cursor)


@bp.get("/<job_id>")
def show(job_id: str) -> BaseResponse:
    values = parameters.query("wait")
    job = _wait(job_id, _seconds(values.get("wait", "0")))
    response = jsonify(as_json(job))
    if not job.is_final:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    response.add_etag()
    return response.make_conditional(request)


def _wait(job_id: str, seconds: float) -> Job:
    """Return the job when it is finished or the time is over."""
    job = _look(job_id)
    if job.is_final or not seconds:
        return job
    return services().watch.wait(job.id, seconds) or _look(job_id)


def _look(job_id: str) -> Job:
    with services().engine.connect() as connection:
        return jobs.get(connection, parameters.job_id(job_id))


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?", text) or float(text) > WAIT_MAX_S:
        raise parameters.invalid("wait", f"seconds, from 0 to {WAIT_MAX_S}")
    return float(text)


def _job_request(body: dict[str, Any]) -> Request:
    settings = services().settings
    fields: dict[str, Any] = {
        "dataset": DEFAULT_DATASET,
        "mode": "publish",
        "engine": settings.etl_engine,
        "force": False,
        "max_rejected_ratio": settings.max_rejected_ratio,
    }
    parameters.refuse_unknown(body, fields)
    wanted = Request(**(fields | body))
    if wanted.mode not in jobs.MODES:
        raise parameters.invalid("mode", f"one of {', '.join(jobs.MODES)}")
    if wanted.engine not in ENGINES:
        raise parameters.invalid("engine", f"one of {', '.join(ENGINES)}")
    if not isinstance(wanted.force, bool):
        raise parameters.invalid("force", "true or false")
    ratio = wanted.max_rejected_ratio
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio <= 1:
        raise parameters.invalid("max_rejected_ratio", "a number from 0 to 1")
    if not isinstance(wanted.dataset, str):
        raise parameters.invalid("dataset", "a dataset's name")
    _refuse_unknown_dataset(wanted.dataset)
    return wanted


def _refuse_unknown_dataset(name: str) -> None:
    if not services().settings.directory(name):
        raise Problem(HTTPStatus.NOT_FOUND, "unknown_dataset", f"there is no dataset {name!r}")


def _link(job: Job, action: str = "show") -> str:
    return url_for(f"jobs.{action}", job_id=job.id)


def as_json(job: Job) -> dict[str, Any]:
    """A job as the API shows it, in the order in which a person reads it."""
    progress = {"done": job.progress_done, "total": job.progress_total, "unit": job.progress_unit}
    # What is not published can be read by its job only.
    version = {"job": job.id} if job.outcome in ("held", "dry_run") else {"dataset": job.dataset}
    links = {
        "self": _link(job),
        **({"retry": _link(job, "retry")} if job.is_final else {"cancel": _link(job, "cancel")}),
        "rejections": url_for("rejections.rejections", job_id=job.id),
        **({"diff": url_for("diff.users", job_id=job.id)} if job.has_version else {}),
        "features": url_for("features.rows", **version),
        "publication": url_for("publications.show", name=job.dataset),
    }
    return {
        "id": str(job.id),
        "dataset": job.dataset,
        "mode": job.mode,
        "state": job.state,
        "outcome": job.outcome,
        "outcome_detail": job.outcome_detail,
        "stage": job.stage,
        "progress": progress if job.progress_unit else None,
        "attempt": job.attempt,
        "parent_id": str(job.parent_id) if job.parent_id else None,
        "created_at": job.created_at.isoformat(),
        "started_at": job.started_at.isoformat() if job.started_at else None,
        "finished_at": job.finished_at.isoformat() if job.finished_at else None,
        "timings_ms": {stage: job.timings_ms[stage] for stage in _STAGES if stage in job.timings_ms},
        "inputs": job.inputs,
        "reconciled": job.reconciled,
        "error": {"code": job.error_code, "detail": job.error_detail} if job.error_code else None,
        "links": links,
    }
