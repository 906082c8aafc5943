"""Server-sent events (https://html.spec.whatwg.org/#server-sent-events): a job, whenever it has changed."""

import time
from collections.abc import Iterator
from http import HTTPStatus

from flask import Blueprint, Response, current_app, stream_with_context

from api.job_answer import as_json
from api.operations import Answer, operation
from api.parameters import JobId
from api.services import services
from worker import jobs
from worker.jobs import Job

bp = Blueprint("events", __name__, url_prefix="/api/v1/jobs")

MEDIA_TYPE = "text/event-stream"
# Then the client asks again, as browsers do by themselves.
STREAM_S = 300
# A comment at least so often, so that nothing between takes the connection for dead, and who has left is noticed.
SILENT_S = 15


@bp.get("/<job_id>/events")
@operation(Answer(None, text=MEDIA_TYPE), problems={HTTPStatus.NOT_FOUND: ("unknown_job",)})
def events(job_id: JobId) -> Response:
    """The job as an event `job`, now and whenever it has changed, to its end or for five minutes."""
    job = jobs.look(services().looks, job_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx would hold back what is small
    return Response(stream_with_context(_events(job)), mimetype=MEDIA_TYPE, headers=headers)


def _events(job: Job) -> Iterator[str]:
    watch, end = services().watch, time.monotonic() + STREAM_S
    yield _event(job)
    while not job.is_final and time.monotonic() < end:
        changed = watch.wait(job.id, min(SILENT_S, end - time.monotonic()), seen=job)
        if changed:
            job = changed
            yield _event(job)
        else:
            yield ": nothing new\n\n"


def _event(job: Job) -> str:
    return f"event: job\ndata: {current_app.json.dumps(as_json(job))}\n\n"
