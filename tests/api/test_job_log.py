"""GET /api/v1/jobs/ID/log"""

import logging

import uuid6
from flask.testing import FlaskClient

from tests.api.conftest import problem
from tests.conftest import InProcess


def test_the_lines_about_a_job_are_shown_oldest_first(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.submit()
    log = in_process.runner.job_log
    for level, message in ((logging.INFO, "first"), (logging.WARNING, "second")):
        log.handle(logging.makeLogRecord({"name": "worker", "levelno": level, "levelname": logging.getLevelName(level),
                                          "msg": message, "job_id": str(job.id)}))  # fmt: skip
    with in_process.engine.begin() as connection:
        log.write(connection)

    shown = client.get(f"/api/v1/jobs/{job.id}/log").get_json()

    assert [(line["level"], line["message"]) for line in shown["items"]] == [("INFO", "first"), ("WARNING", "second")]
    assert shown["next_cursor"] is None


def test_a_client_that_cancels_a_job_is_named_in_its_log(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.submit()
    client.post(f"/api/v1/jobs/{job.id}/cancel")

    [line] = client.get(f"/api/v1/jobs/{job.id}/log").get_json()["items"]

    assert line["message"] == "cancelled by a client"


def test_a_job_of_which_nothing_was_logged_has_an_empty_log(client: FlaskClient, in_process: InProcess) -> None:
    assert client.get(f"/api/v1/jobs/{in_process.submit().id}/log").get_json() == {"items": [], "next_cursor": None}


def test_the_log_of_an_unknown_job_is_a_404(client: FlaskClient) -> None:
    problem(client.get(f"/api/v1/jobs/{uuid6.uuid7()}/log"), 404, "unknown_job")
