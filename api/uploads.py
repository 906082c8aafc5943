"""Uploads: the files of a dataset, streamed from the request into their place."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http import HTTPStatus
from threading import BoundedSemaphore
from typing import IO

import gevent
from flask import Blueprint, Response, jsonify, request, url_for
from gevent.util import wrap_errors
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from api import answers, problems
from api.operations import Answer, operation
from api.parameters import DatasetName
from api.problems import Problem
from api.services import services
from worker import uploads
from worker.uploads import Refused, Upload, Value

bp = Blueprint("uploads", __name__, url_prefix="/api/v1/datasets")

# Each decompresses and hashes, and so takes a core while it does; most of the time it waits for its client.
_uploading = BoundedSemaphore(16)

_READ_BYTES = 64 << 10
# The decoder's buffer: a part's headers, a boundary, what stands before the first part and after the last.
_BUFFER_BYTES_MAX = 2 * _READ_BYTES
_BOUNDARY_CHARS_MAX = 70  # RFC 2046, 5.1.1

_STATUS = {
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "disk_full": HTTPStatus.INSUFFICIENT_STORAGE,
}


_REFUSALS = ("invalid_parameter", "unknown_file", "ambiguous_file", "missing_file", "encoding")


@bp.errorhandler(Refused)
def _refused(error: Refused) -> Response:
    status = _STATUS.get(error.code, HTTPStatus.UNPROCESSABLE_ENTITY)
    return problems.response(Problem(status, error.code, str(error)))


@bp.errorhandler(RequestEntityTooLarge)
def _too_long(_error: RequestEntityTooLarge) -> Response:
    allowed = services().settings.max_upload_bytes
    return problems.response(
        Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "request_entity_too_large",
            f"a request may have {allowed} bytes (MAX_UPLOAD_BYTES), and the headers of a part far less",
        )
    )


@bp.put("/<name>")
@operation(
    Answer(answers.Uploaded),
    Answer(answers.Uploaded, HTTPStatus.CREATED),
    problems={
        HTTPStatus.BAD_REQUEST: ("invalid_multipart",),
        HTTPStatus.CONFLICT: ("dataset_is_mounted",),
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("request_entity_too_large", "too_large"),
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE: ("not_multipart",),
        HTTPStatus.UNPROCESSABLE_ENTITY: _REFUSALS,
        HTTPStatus.SERVICE_UNAVAILABLE: ("too_many_uploads",),
        HTTPStatus.INSUFFICIENT_STORAGE: ("disk_full",),
    },
    takes_files=True,
    name="lab",
)
def upload(name: DatasetName) -> tuple[Response, HTTPStatus]:
    """Take the three files, and make them the dataset once all of them are there."""
    _refuse_mounted(name)
    boundary, stream = _boundary(), _limited_stream()
    with _turn(), uploads.staged(services().settings, request.content_length or 0, _aside) as files:
        _receive(stream, boundary, files)
        received = files.received()
        is_new = files.publish(name)
    answer = jsonify(
        name=name,
        files=[asdict(file) for file in received],
        links={
            "jobs": url_for("jobs.submit"),
            "features": url_for("features.rows", dataset=name),
            "publication": url_for("publications.show", name=name),
        },
    )
    return answer, HTTPStatus.CREATED if is_new else HTTPStatus.OK


def _refuse_mounted(name: str) -> None:
    if services().settings.is_mounted(name):
        raise Problem(
            HTTPStatus.CONFLICT,
            "dataset_is_mounted",
            f"the dataset {name!r} is in DATA_DIR, which is not written to; upload under another name",
        )


def _boundary() -> bytes:
    if request.mimetype != "multipart/form-data":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_multipart", "send the files as multipart/form-data, as curl -F does"
        )
    boundary = request.mimetype_params.get("boundary", "")
    if not boundary.isascii() or not 1 <= len(boundary) <= _BOUNDARY_CHARS_MAX:
        raise _invalid_multipart(f"its boundary must be 1 to {_BOUNDARY_CHARS_MAX} ASCII characters")
    return boundary.encode()


def _aside(work: Callable[[], Value]) -> Value:
    """In a thread that gevent keeps for this: until the disk has everything, all other requests would have to wait."""
    done: Value | Exception = gevent.get_hub().threadpool.apply(wrap_errors((Exception,), work))
    if isinstance(done, Exception):  # gevent would print one that is raised there
        raise done
    return done


@contextmanager
def _turn() -> Iterator[None]:
    if not _uploading.acquire(blocking=False):
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "too_many_uploads",
            "other uploads are under way; try again",
            headers={"Retry-After": "5"},
        )
    try:
        yield
    finally:
        _uploading.release()


def _limited_stream() -> IO[bytes]:
    """Return the body, which raises RequestEntityTooLarge where it goes on after MAX_UPLOAD_BYTES."""
    allowed = services().settings.max_upload_bytes
    if (request.content_length or 0) > allowed:
        raise RequestEntityTooLarge
    # Werkzeug refuses to look for the end of a body that has reached the limit, so the limit is one byte further.
    request.max_content_length = allowed + 1
    return request.stream


def _receive(stream: IO[bytes], boundary: bytes, files: Upload) -> None:
    """Take each part as a file by its file name; the names of the form's fields do not matter.

    The number of parts needs no limit: each one is a file that is still missing, or ends the request.
    """
    for event in _events(stream, boundary):
        match event:
            case File(filename=name):
                files.begin(name)
            case Field():
                files.begin(None)
            case Data(data=data, more_data=more):
                files.write(data)
                if not more:
                    files.end()


def _events(stream: IO[bytes], boundary: bytes) -> Iterator[Event]:
    decoder = MultipartDecoder(boundary, _BUFFER_BYTES_MAX)
    data = b"-"
    while data:
        data = stream.read(_READ_BYTES)
        decoder.receive_data(data or None)
        while not isinstance(event := _next_event(decoder), NeedData | Epilogue):
            yield event


def _next_event(decoder: MultipartDecoder) -> Event:
    try:
        return decoder.next_event()
    except ValueError as error:
        raise _invalid_multipart("it breaks off, or a part has headers that cannot be read") from error


def _invalid_multipart(reason: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, "invalid_multipart", f"the body is not valid multipart/form-data: {reason}")
