"""Request ids: every answer carries one, and so does every log line about a request."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import uuid4

from flask import Flask, request

from worker import logs

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HEADER = "X-Request-Id"

# What a client may choose: it ends up in logs and in headers.
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def init_app(app: Flask) -> None:
    app.wsgi_app = RequestIds(app.wsgi_app)  # type: ignore[method-assign]


class RequestIds:
    """Wraps the application: takes the client's id or makes one."""

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        request_id = _usable(environ.get("HTTP_X_REQUEST_ID", ""))
        environ["HTTP_X_REQUEST_ID"] = request_id

        def start(status: str, headers: list[tuple[str, str]], *error: object) -> object:
            return start_response(status, [*headers, (HEADER, request_id)], *error)  # type: ignore[arg-type]

        with logs.about(request_id=request_id):
            return self._app(environ, start)  # type: ignore[arg-type]


def assign(headers: list[tuple[str, str]]) -> str:
    """Return the id of a request with these headers, and leave it among them as the only one."""
    name = HEADER.upper()
    given = [value for of, value in headers if of == name]
    request_id = _usable(",".join(given))
    headers[:] = [header for header in headers if header[0] != name] + [(name, request_id)]
    return request_id


def current() -> str:
    """The id of the request that is being answered."""
    return request.headers[HEADER]


def _usable(given: str) -> str:
    return given if _ID.fullmatch(given) else uuid4().hex
