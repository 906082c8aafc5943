"""POST /api/v1/jobs/ID/cancel and /retry."""

from flask.testing import FlaskClient

from tests.api.conftest import ClientWith, problem
from tests.conftest import InProcess, await_silence
from worker.jobs import Job


def _path(job: Job, action: str) -> str:
    return f"/api/v1/jobs/{job.id}/{action}"


def test_a_waiting_job_is_cancelled_at_once(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.submit()

    response = client.post(_path(job, "cancel"))

    assert response.status_code == 202
    assert response.get_json()["state"] == "cancelled"
    assert response.location == f"/api/v1/jobs/{job.id}"
    assert "Retry-After" not in response.headers
    assert client.get(response.location).get_json() == response.get_json()
    in_process.run_job(job)
    assert in_process.published() is None


def test_a_job_that_has_ended_cannot_be_cancelled(client: FlaskClient, in_process: InProcess) -> None:
    body = problem(client.post(_path(in_process.run(), "cancel")), 409, "already_finished")

    assert body["detail"] == "the job is succeeded already"


def test_a_job_is_cancelled_once(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.submit()
    client.post(_path(job, "cancel"))

    problem(client.post(_path(job, "cancel")), 409, "already_finished")


def test_what_is_no_job_can_neither_be_cancelled_nor_retried(client: FlaskClient) -> None:
    for action in ("cancel", "retry"):
        problem(client.post(f"/api/v1/jobs/nonsense/{action}"), 404, "unknown_job")
        problem(client.post(f"/api/v1/jobs/01a20449-f952-713d-883d-a11aba2a7acc/{action}"), 404, "unknown_job")


def test_neither_takes_anything_else(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.submit()

    for action in ("cancel", "retry"):
        problem(client.post(_path(job, action), json={"force": True}), 422, "invalid_parameter")
    assert in_process.job(job).state == "queued"


def test_a_retry_is_a_new_job_that_is_asked_for_the_same(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.submit(mode="dry_run", force=True, max_rejected_ratio=0.5)
    client.post(_path(job, "cancel"))

    response = client.post(_path(job, "retry"))

    assert response.status_code == 202
    body = response.get_json()
    assert response.location == f"/api/v1/jobs/{body['id']}"
    assert (body["state"], body["parent_id"]) == ("queued", str(job.id))
    [row] = in_process.query("SELECT * FROM jobs WHERE id = :id", id=body["id"])
    assert (row["mode"], row["force"], row["max_rejected_ratio"]) == ("dry_run", True, 0.5)
    assert in_process.job(job).state == "cancelled"


def test_a_retry_is_rung_for(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.run()

    client.post(_path(job, "retry"))

    await_silence(client.application)
    assert client.application.extensions["services"].redis.llen("jobs") == 1


def test_a_job_that_has_not_ended_is_not_retried(client: FlaskClient, in_process: InProcess) -> None:
    for job in (in_process.submit(), in_process.claim(in_process.submit(dataset="second"))):
        problem(client.post(_path(job, "retry")), 409, "not_finished")


def test_a_retry_counts_as_a_waiting_job(client_with: ClientWith, in_process: InProcess) -> None:
    job = in_process.run()
    in_process.submit()

    response = client_with(max_queued_jobs=1).post(_path(job, "retry"))

    problem(response, 429, "queue_full")


def test_a_retry_with_a_key_is_made_once(client: FlaskClient, in_process: InProcess) -> None:
    job, headers = in_process.run(), {"Idempotency-Key": "again-1"}
    first, second = (client.post(_path(job, "retry"), headers=headers).get_json()["id"] for _ in range(2))

    assert first == second
    problem(client.post("/api/v1/jobs", headers=headers), 422, "idempotency_conflict")
    in_process.run_job(in_process.submit())


def test_without_its_files_there_is_no_retry(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.run(dataset="absent")

    problem(client.post(_path(job, "retry")), 404, "unknown_dataset")
