"""Server-sent events: a job, whenever it has changed."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import uuid6
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api import events
from tests.conftest import InProcess
from worker import jobs


def told(response: TestResponse) -> Iterator[dict[str, Any]]:
    """What the events say, as they come."""
    for piece in response.iter_encoded():
        kind, _, data = piece.decode().partition("\n")
        if kind == "event: job":
            yield json.loads(data.removeprefix("data: "))


def test_every_change_of_a_job_is_told_to_its_end(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.submit()
    response = client.get(f"/api/v1/jobs/{job.id}/events")
    seen = told(response)

    assert response.content_type.startswith("text/event-stream")
    assert next(seen)["state"] == "queued"

    with in_process.engine.begin() as connection:
        claimed = jobs.claim(connection, job.id, "test")
    assert claimed
    assert next(seen)["state"] == "running"

    with in_process.engine.begin() as connection:
        jobs.renew(connection, claimed, "extract", (512, 2048, "bytes"))
    assert next(seen)["progress"] == {"done": 512, "total": 2048, "unit": "bytes"}

    with in_process.engine.begin() as connection:
        jobs.cancel(connection, job.id)
    assert next(seen)["state"] == "cancelled"
    assert list(seen) == []


def test_a_job_that_has_ended_is_told_once(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.run()

    [shown] = told(client.get(f"/api/v1/jobs/{job.id}/events"))

    assert shown == client.get(f"/api/v1/jobs/{job.id}").get_json()


def test_a_stream_without_news_says_so_and_ends(
    client: FlaskClient, in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "SILENT_S", 0.05)
    monkeypatch.setattr(events, "STREAM_S", 0.2)
    job = in_process.submit()

    text = client.get(f"/api/v1/jobs/{job.id}/events").get_data(as_text=True)

    assert text.startswith("event: job\n")
    assert text.endswith(": nothing new\n\n")
    assert text.count("event: job") == 1


def test_events_of_an_unknown_job_are_a_404(client: FlaskClient) -> None:
    assert client.get(f"/api/v1/jobs/{uuid6.uuid7()}/events").status_code == 404


def test_who_waits_for_the_end_is_not_told_of_a_change(client: FlaskClient, in_process: InProcess) -> None:
    watch = client.application.extensions["services"].watch
    job = in_process.submit()

    with ThreadPoolExecutor(2) as threads:
        end = threads.submit(watch.wait, job.id, 1)
        change = threads.submit(watch.wait, job.id, 30, seen=job)
        with in_process.engine.begin() as connection:
            jobs.claim(connection, job.id, "test")

    assert change.result().state == "running"
    assert end.result() is None
