"""Every error has the one shape, a stable code, and no more about the inside than it needs."""

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from tests.api.conftest import DEAD_DATABASE, ClientWith, problem
from tests.conftest import InProcess
from worker import jobs

READING = [
    "/api/v1/jobs",
    "/api/v1/jobs/01936d6c-5c1e-7000-8000-000000000000",
    "/api/v1/jobs/events",
    "/api/v1/jobs/01936d6c-5c1e-7000-8000-000000000000/events",
    "/api/v1/jobs/01936d6c-5c1e-7000-8000-000000000000/log",
    "/api/v1/jobs/01936d6c-5c1e-7000-8000-000000000000/rejections",
    "/api/v1/jobs/01936d6c-5c1e-7000-8000-000000000000/diff",
    "/api/v1/features",
    "/api/v1/features/1",
    "/api/v1/summary",
    "/api/v1/statistics",
    "/api/v1/datasets",
    "/api/v1/datasets/default/publication",
]


def test_no_such_route_is_a_404(client: FlaskClient) -> None:
    for path in (
        "/absent",
        "/api/v1/absent",
        "/api/v2/jobs",
        "/api/v1/jobs/",
        "/static/absent.js",
        "/static/../wsgi.py",
    ):
        problem(client.get(path), 404, "not_found")


def test_a_wrong_method_is_a_405_that_names_the_right_ones(client: FlaskClient) -> None:
    response = client.delete("/api/v1/jobs")

    problem(response, 405, "method_not_allowed")
    assert {"GET", "POST"} <= set(response.headers["Allow"].split(", "))


def test_without_the_database_every_route_that_reads_it_is_a_503(client_with: ClientWith) -> None:
    client = client_with(database_url=DEAD_DATABASE)

    for path in READING:
        response = client.get(path)
        problem(response, 503, "database_unavailable")
        assert int(response.headers["Retry-After"]) > 0
        assert "nonexistent" not in response.text


def test_every_route_that_reads_the_database_is_among_these(client: FlaskClient) -> None:
    """A new route must be added above."""
    adapter = client.application.url_map.bind("localhost")
    read = {adapter.match(path, "GET")[0] for path in READING}

    rules = [rule for rule in client.application.url_map.iter_rules() if rule.rule.startswith("/api/")]
    assert {rule.endpoint for rule in rules if "GET" in (rule.methods or ())} == read


def test_before_a_worker_has_made_the_schema_every_route_is_a_503(client_with: ClientWith, postgres: str) -> None:
    """Between the start of the database and that of the first worker."""
    client = client_with(database_url=postgres)

    for path in READING:
        problem(client.get(path), 503, "schema_not_ready")
    problem(client.post("/api/v1/jobs"), 503, "schema_not_ready")


def test_an_answer_comes_also_after_the_database_was_restarted(client: FlaskClient, in_process: InProcess) -> None:
    """The connections in the pool are dead then."""
    paths = ("/api/v1/jobs", f"/api/v1/jobs/{in_process.submit().id}")
    for path in paths:
        assert client.get(path).status_code == 200
    in_process.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    for path in paths:
        assert client.get(path).status_code == 200


def test_a_defect_is_a_500_that_tells_its_number_and_nothing_else(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(jobs, "newest", fail)

    response = client.get("/api/v1/jobs")

    body = problem(response, 500, "internal_error")
    assert len(body["request_id"]) == 32
    assert "luck" not in response.text
    assert "RuntimeError: out of luck" in caplog.text
    assert body["request_id"] == response.headers["X-Request-Id"]


def test_a_defect_in_a_statement_is_no_missing_schema(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connection: sa.Connection, **_: object) -> None:
        connection.execute(sa.text("SELEC 1"))

    monkeypatch.setattr(jobs, "newest", fail)

    response = client.get("/api/v1/jobs")

    problem(response, 500, "internal_error")
    assert "SELEC" not in response.text
