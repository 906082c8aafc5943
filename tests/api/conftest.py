"""The API as a client sees it; behind it a real Postgres and a real Redis."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api import create_app
from tests.conftest import end
from worker.settings import Settings

DEAD_REDIS = "unix:///nonexistent/redis.sock?db=0"
DEAD_DATABASE = "postgresql://etl@/experiment_etl?host=/nonexistent"

FORM_TYPE = "multipart/form-data; boundary=b"

ClientWith = Callable[..., FlaskClient]


@pytest.fixture
def client_with(settings: Settings) -> Iterator[ClientWith]:
    """Make a client of an API with other settings."""
    with ExitStack() as clients:

        def make(**changes: Any) -> FlaskClient:
            app = create_app(replace(settings, **changes))
            clients.callback(end, app)
            return clients.enter_context(app.test_client())

        yield make


def problem(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """Check that the answer is a problem of this status and code, in the one shape of all errors; return its body."""
    assert response.status_code == status, response.text
    assert response.mimetype == "application/problem+json"
    body: dict[str, Any] = response.get_json()
    assert list(body)[:5] == ["type", "title", "status", "code", "detail"]
    assert body["type"] == "about:blank"
    assert (body["status"], body["code"]) == (status, code)
    assert body["title"]
    assert body["detail"]
    return body


def form(*files: tuple[str, bytes]) -> bytes:
    """Return the files as a body of the type FORM_TYPE."""
    head = '--b\r\nContent-Disposition: form-data; name="f"; filename="{}"\r\n\r\n'
    return b"".join(head.format(name).encode() + content + b"\r\n" for name, content in files) + b"--b--\r\n"
