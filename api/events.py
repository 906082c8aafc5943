"""Server-sent events (https://html.spec.whatwg.org/#server-sent-events): a job, or any job, whenever it has changed."""

import time
from collections.abc import Callable, Iterator
from http import HTTPStatus

from flask import Blueprint, Response, copy_current_request_context, current_app
from typing_extensions import TypedDict

from api.job_answer import as_json
from api.news import Listener
from api.operations import Answer, operation
from api.parameters import DatasetName, JobId
from api.services import Services, services
from worker import jobs
from worker.jobs import Job

bp = Blueprint("events", __name__, url_prefix="/api/v1/jobs")

MEDIA_TYPE = "text/event-stream"
# Then the client asks again, as browsers do by themselves.
STREAM_S = 300
# A comment at least so often, so that nothing between takes the connection for dead, and who has left is noticed.
SILENT_S = 15
# What a list begins with.
NEWEST = 20

_NOTHING = ": nothing new\n\n"

Event = Callable[[Job], str]


class _ListQuery(TypedDict, total=False):
    dataset: DatasetName


@bp.get("/events")
@operation(Answer(None, media_types=(MEDIA_TYPE,)))
def of_all(query: _ListQuery) -> Response:
    """The newest 20 jobs, oldest first, as events `job`, then each job that is new or has changed, for five minutes."""
    dataset = query.get("dataset")
    news = services().news
    listener = news.listen(dataset)  # first, so that nothing comes between the list and the news
    try:
        with services().engine.connect() as connection:
            newest = jobs.newest(connection, limit=NEWEST, dataset=dataset)[::-1]
    except BaseException:
        news.leave(listener)
        raise
    response = _stream(_of_all(listener, _event(), newest))
    response.call_on_close(lambda: news.leave(listener))
    return response


def _of_all(listener: Listener, event: Event, newest: list[Job]) -> Iterator[str]:
    end = time.monotonic() + STREAM_S
    listener.has_seen(newest)
    yield "".join(map(event, newest)) or _NOTHING  # so that an empty list begins, too
    while (rest := end - time.monotonic()) > 0:
        yield "".join(map(event, listener.wait(min(SILENT_S, rest)))) or _NOTHING


@bp.get("/<job_id>/events")
@operation(Answer(None, media_types=(MEDIA_TYPE,)), problems={HTTPStatus.NOT_FOUND: ("unknown_job",)})
def of_one(job_id: JobId) -> Response:
    """The job as an event `job`, now and whenever it has changed, to its end or for five minutes."""
    return _stream(_of_one(services(), _event(), jobs.look(services().looks, job_id)))


def _of_one(of: Services, event: Event, job: Job) -> Iterator[str]:
    end = time.monotonic() + STREAM_S
    yield event(job)
    while not job.is_final and time.monotonic() < end:
        changed = of.watch.wait(job.id, min(SILENT_S, end - time.monotonic()), seen=job)
        if changed:
            job = changed
            yield event(job)
        else:
            yield _NOTHING


def _stream(events: Iterator[str]) -> Response:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx would hold back what is small
    return Response(events, mimetype=MEDIA_TYPE, headers=headers)


def _event() -> Event:
    """Writes a job as an event, with the request's addresses, also when the request is over but for its stream."""

    @copy_current_request_context
    def write(job: Job) -> str:
        return f"event: job\ndata: {current_app.json.dumps(as_json(job))}\n\n"

    return write
