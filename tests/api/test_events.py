"""Server-sent events: a job, whenever it has changed."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
import uuid6
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api import events
from tests.conftest import InProcess
from tests.servers import wait_until
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


# --- any job


def told_of_all(response: TestResponse) -> Iterator[tuple[str, str]]:
    """Of each event of the list the dataset and the state."""
    for piece in response.iter_encoded():
        for line in piece.decode().splitlines():
            if line.startswith("data: "):
                job = json.loads(line.removeprefix("data: "))
                yield job["dataset"], job["state"]


def test_the_list_begins_with_the_newest_jobs_and_tells_of_each_new_one_and_each_change(
    client: FlaskClient, in_process: InProcess
) -> None:
    jobs_before = [in_process.submit(dataset=f"d{number}") for number in range(events.NEWEST + 1)]
    response = client.get("/api/v1/jobs/events")
    seen = told_of_all(response)

    assert response.content_type.startswith("text/event-stream")
    assert [next(seen)[0] for _ in range(events.NEWEST)] == [job.dataset for job in jobs_before[1:]]

    in_process.claim(jobs_before[0])
    assert next(seen) == ("d0", "running"), "a job that is not among the newest has changed"
    in_process.submit(dataset="new")
    assert next(seen) == ("new", "queued")
    with in_process.engine.begin() as connection:
        jobs.cancel(connection, jobs_before[5].id)
    assert next(seen) == ("d5", "cancelled")
    response.close()


def test_the_list_of_a_dataset_is_told_of_no_other(client: FlaskClient, in_process: InProcess) -> None:
    in_process.submit(dataset="other")
    first = in_process.submit(dataset="mine")
    response = client.get("/api/v1/jobs/events?dataset=mine")
    seen = told_of_all(response)

    assert next(seen) == ("mine", "queued")
    in_process.submit(dataset="other")
    in_process.claim(first)
    assert next(seen) == ("mine", "running")
    response.close()


def test_a_change_that_is_committed_late_is_told_although_others_were_told_before(
    client: FlaskClient, in_process: InProcess
) -> None:
    late, early = in_process.submit(dataset="late"), in_process.submit(dataset="early")
    response = client.get("/api/v1/jobs/events")
    seen = told_of_all(response)
    assert [next(seen)[0], next(seen)[0]] == ["late", "early"]

    with in_process.engine.begin() as connection:
        jobs.cancel(connection, late.id)
        in_process.claim(early)
        assert next(seen) == ("early", "running")
        with in_process.engine.begin() as another:
            jobs.cancel(another, early.id)
        assert next(seen) == ("early", "cancelled")
        in_process.submit(dataset="new")
        assert next(seen) == ("new", "queued"), "and not what was told before once more"
    assert next(seen) == ("late", "cancelled")
    response.close()


def test_a_lease_that_is_renewed_is_no_news(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.claim(in_process.submit())
    response = client.get("/api/v1/jobs/events")
    seen = told_of_all(response)
    assert next(seen) == ("default", "running")

    with in_process.engine.begin() as connection:
        jobs.renew(connection, job, None, None)
    in_process.execute("UPDATE jobs SET rung_at = now()")
    in_process.submit(dataset="next")

    assert next(seen) == ("next", "queued")
    response.close()


def test_an_empty_list_begins_at_once_and_ends(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SILENT_S", 0.05)
    monkeypatch.setattr(events, "STREAM_S", 0.2)

    with client.get("/api/v1/jobs/events") as response:
        text = response.get_data(as_text=True)

    assert set(text.split("\n\n")) == {": nothing new", ""}


def test_nobody_looks_when_nobody_listens_any_more(client: FlaskClient, in_process: InProcess) -> None:
    wait_until(lambda: not _looking(), "those of other tests have ended")
    in_process.submit()
    responses = [client.get("/api/v1/jobs/events") for _ in range(3)]
    for response in responses:
        next(told_of_all(response))
    assert len(_looking()) == 1

    for response in responses:
        response.close()

    wait_until(lambda: not _looking(), "nobody looks")


def _looking() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "news"]


def test_rows_with_the_numbers_of_another_server_are_no_news(client: FlaskClient, in_process: InProcess) -> None:
    """Those of a dump that was restored."""
    looks = client.application.extensions["services"].looks
    in_process.submit()
    since, _ = jobs.changed(looks)
    in_process.execute("UPDATE jobs SET changed_in = '123456789012'")

    assert jobs.changed(looks, since)[1] == []


def test_what_was_told_is_not_looked_through_again_while_a_transaction_takes_long(
    client: FlaskClient, in_process: InProcess
) -> None:
    looks = client.application.extensions["services"].looks
    in_process.submit(dataset="early")
    since, _ = jobs.changed(looks)
    with in_process.engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_current_xact_id()"))
        told = in_process.submit(dataset="new")

        horizon, [(number, job)] = jobs.changed(looks, since)
        assert job.id == told.id
        assert [job.id for _, job in jobs.changed(looks, horizon)[1]] == [told.id], "it cannot be left out otherwise"
        assert jobs.changed(looks, horizon, [number])[1] == []


@pytest.mark.parametrize("whose", ["one", "all"])
def test_while_the_database_is_away_it_is_asked_now_and_then(
    whose: str, client: FlaskClient, in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = in_process.submit()
    asked = []

    def refuse(*_: object, **__: object) -> None:
        asked.append(time.monotonic())
        raise psycopg2.OperationalError("away")

    monkeypatch.setattr(events, "STREAM_S", 0.5)
    response = client.get("/api/v1/jobs/events" if whose == "all" else f"/api/v1/jobs/{job.id}/events")
    monkeypatch.setattr(jobs, "changed", refuse)
    monkeypatch.setattr(jobs, "finished", refuse)

    with response:
        assert response.get_data(as_text=True).startswith("event: job")
    assert 1 <= len(asked) <= 3
