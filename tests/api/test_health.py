"""GET /healthz and /readyz"""

import pytest
from flask.testing import FlaskClient

from tests.api.conftest import DEAD_DATABASE, DEAD_REDIS, ClientWith
from tests.conftest import InProcess
from worker import presence
from worker.settings import Settings


@pytest.fixture
def worker(in_process: InProcess) -> str:
    """A worker that was just heard of."""
    with in_process.engine.begin() as connection:
        presence.beat(connection, "w")
    return "w"


@pytest.mark.usefixtures("worker")
def test_a_service_that_could_run_a_job_now_is_ready(client: FlaskClient) -> None:
    response = client.get("/readyz")

    assert response.status_code == 200
    assert response.get_json() == {"status": "ok", "database": "ok", "queue": "ok", "worker": "ok"}


def test_without_a_worker_the_service_is_not_ready_and_says_so(client: FlaskClient) -> None:
    response = client.get("/readyz")

    body = response.get_json()
    assert (response.status_code, body["status"]) == (503, "not ready")
    assert (body["database"], body["queue"]) == ("ok", "ok")
    assert body["worker"] == "no worker was heard of in the last 20 s"


def test_a_worker_that_went_silent_is_none(client: FlaskClient, in_process: InProcess, worker: str) -> None:
    in_process.execute(
        "UPDATE worker_heartbeats SET seen_at = now() - make_interval(secs => :silent_s) WHERE worker = :worker",
        silent_s=presence.SILENT_S + 1,
        worker=worker,
    )

    assert client.get("/readyz").status_code == 503


def test_a_worker_that_left_is_none(client: FlaskClient, in_process: InProcess, worker: str) -> None:
    with in_process.engine.begin() as connection:
        presence.leave(connection, worker)

    assert client.get("/readyz").status_code == 503


def test_one_worker_of_several_is_enough(client: FlaskClient, in_process: InProcess, worker: str) -> None:
    with in_process.engine.begin() as connection:
        presence.beat(connection, "another")
        presence.leave(connection, worker)

    assert client.get("/readyz").status_code == 200


@pytest.mark.usefixtures("worker")
def test_without_redis_the_service_is_not_ready_and_says_so(client_with: ClientWith) -> None:
    response = client_with(redis_url=DEAD_REDIS).get("/readyz")

    body = response.get_json()
    assert response.status_code == 503
    assert (body["database"], body["worker"]) == ("ok", "ok")
    assert body["queue"].startswith("no answer")


def test_without_the_database_the_service_is_not_ready_and_says_so(client_with: ClientWith) -> None:
    response = client_with(database_url=DEAD_DATABASE).get("/readyz")

    body = response.get_json()
    assert response.status_code == 503
    assert body["queue"] == "ok"
    assert body["database"].startswith("no answer")
    assert body["worker"] != "ok"
    assert "nonexistent" not in response.text, "addresses are for the log"


def test_without_the_schema_the_service_is_not_ready(client_with: ClientWith, postgres: str) -> None:
    assert client_with(database_url=postgres).get("/readyz").status_code == 503


@pytest.mark.usefixtures("worker")
def test_until_a_worker_has_upgraded_the_database_the_service_is_not_ready(
    client: FlaskClient, in_process: InProcess
) -> None:
    in_process.execute("UPDATE alembic_version SET version_num = '0003'")

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.get_json()["database"] == "no worker has prepared it yet"


def test_a_live_process_says_so_although_nothing_else_is_there(client_with: ClientWith) -> None:
    response = client_with(database_url=DEAD_DATABASE, redis_url=DEAD_REDIS).get("/healthz")

    assert (response.status_code, response.get_json()) == (200, {"status": "ok"})


def test_health_is_shown_without_a_token(client_with: ClientWith, settings: Settings) -> None:
    client = client_with(api_token="x" * 20)

    assert settings.api_token is None
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
