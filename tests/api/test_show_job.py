"""GET /api/v1/jobs/{id}"""

import time
from concurrent.futures import ThreadPoolExecutor

import uuid6
from flask.testing import FlaskClient

from api.services import CONNECTIONS
from tests.api.conftest import problem
from tests.conftest import InProcess
from tests.servers import wait_until
from worker import jobs
from worker.jobs import Job

KEYS = [
    "id",
    "dataset",
    "mode",
    "state",
    "outcome",
    "outcome_detail",
    "stage",
    "progress",
    "attempt",
    "parent_id",
    "created_at",
    "started_at",
    "finished_at",
    "timings_ms",
    "inputs",
    "reconciled",
    "error",
    "links",
]


def _path(job: Job) -> str:
    return f"/api/v1/jobs/{job.id}"


def test_a_job_is_shown_in_the_order_in_which_a_person_reads_it(client: FlaskClient, in_process: InProcess) -> None:
    for job in (in_process.submit(), in_process.run(force=True)):
        assert list(client.get(_path(job)).get_json()) == KEYS


def test_a_waiting_job_says_so(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.submit()

    response = client.get(_path(job))

    assert response.status_code == 200
    assert response.headers["Retry-After"] == "1"
    assert response.get_json() == {
        "id": str(job.id),
        "dataset": "default",
        "mode": "publish",
        "state": "queued",
        "outcome": None,
        "outcome_detail": None,
        "stage": None,
        "progress": None,
        "attempt": 0,
        "parent_id": None,
        "created_at": job.created_at.isoformat(),
        "started_at": None,
        "finished_at": None,
        "timings_ms": {},
        "inputs": [],
        "reconciled": None,
        "error": None,
        "links": {
            "self": _path(job),
            "cancel": f"{_path(job)}/cancel",
            "rejections": f"{_path(job)}/rejections",
            "features": "/api/v1/features?dataset=default",
            "publication": "/api/v1/datasets/default/publication",
        },
    }


def test_a_running_job_shows_its_stage_and_progress(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.claim(in_process.submit())
    with in_process.engine.begin() as connection:
        jobs.renew(connection, job, "extract", (512, 2048, "bytes"))

    response = client.get(_path(job))

    shown = response.get_json()
    assert (shown["state"], shown["stage"], shown["attempt"]) == ("running", "extract", 1)
    assert shown["progress"] == {"done": 512, "total": 2048, "unit": "bytes"}
    assert shown["started_at"]
    assert response.headers["Retry-After"] == "1"


def test_a_published_job_accounts_for_everything(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.run()

    response = client.get(_path(job))

    shown = response.get_json()
    assert (shown["state"], shown["outcome"], shown["reconciled"], shown["error"]) == (
        "succeeded",
        "published",
        True,
        None,
    )
    assert list(shown["timings_ms"]) == ["queued", "extract", "validate", "derive", "load", "publish"]
    assert [file["file"] for file in shown["inputs"]] == ["users.csv", "compounds.csv", "user_experiments.csv"]
    for file in shown["inputs"]:
        assert list(file)[:7] == ["file", "sha256", "bytes", "read", "accepted", "duplicate", "rejected"]
        assert file["read"] == file["accepted"] + file["duplicate"] + file["rejected"]
    assert "Retry-After" not in response.headers


def test_a_failed_job_shows_code_and_sentence(client: FlaskClient, in_process: InProcess) -> None:
    (in_process.settings.data_dir / "users.csv").unlink()
    job = in_process.run()

    response = client.get(_path(job))

    shown = response.get_json()
    assert (shown["state"], shown["outcome"]) == ("failed", None)
    assert shown["error"] == {
        "code": "missing_file",
        "detail": "users.csv: the dataset has neither this file nor its .gz",
    }
    assert "Retry-After" not in response.headers


def test_the_links_of_a_job_lead_somewhere(client: FlaskClient, in_process: InProcess) -> None:
    links = client.get(_path(in_process.run())).get_json()["links"]

    assert client.post(links.pop("retry")).status_code == 202
    assert {name: client.get(link).status_code for name, link in links.items()} == dict.fromkeys(links, 200)


def test_an_unknown_job_is_a_404(client: FlaskClient) -> None:
    """Never `pending`: what the ledger does not know was never accepted."""
    for job_id in (uuid6.uuid7(), "x", "1", "%00", "0" * 5000):
        problem(client.get(f"/api/v1/jobs/{job_id}"), 404, "unknown_job")


def test_an_id_is_written_in_one_way(client: FlaskClient, in_process: InProcess) -> None:
    """As /openapi.json describes it; capital letters are the same ones."""
    job_id = str(in_process.submit().id)

    assert client.get(f"/api/v1/jobs/{job_id.upper()}").status_code == 200
    for text in (job_id.replace("-", ""), f"{{{job_id}}}", f"urn:uuid:{job_id}", f"{job_id}%0A"):
        problem(client.get(f"/api/v1/jobs/{text}"), 404, "unknown_job")


def test_an_unknown_job_is_a_404_at_once_also_for_one_who_waits(client: FlaskClient) -> None:
    started = time.monotonic()

    problem(client.get(f"/api/v1/jobs/{uuid6.uuid7()}?wait=30"), 404, "unknown_job")

    assert time.monotonic() - started < 20


# --- ETag


def test_a_job_that_did_not_change_is_not_sent_again(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.submit()
    etag = client.get(_path(job)).headers["ETag"]

    response = client.get(_path(job), headers={"If-None-Match": etag})

    assert (response.status_code, response.data) == (304, b"")
    assert response.headers["ETag"] == etag


def test_a_job_that_changed_is_sent_again(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.submit()
    etag = client.get(_path(job)).headers["ETag"]
    in_process.claim(job)

    response = client.get(_path(job), headers={"If-None-Match": etag})

    assert response.status_code == 200
    assert response.headers["ETag"] != etag


# --- wait


def test_one_who_waits_is_answered_when_the_job_is_done(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.submit()
    started = time.monotonic()
    with ThreadPoolExecutor() as threads:
        running = threads.submit(in_process.run_job, job)

        shown = client.get(f"{_path(job)}?wait=30").get_json()
        running.result(30)

    assert shown["state"] == "succeeded"
    assert time.monotonic() - started < 25


def test_one_who_waits_for_a_job_that_is_done_is_answered_at_once(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.run()
    started = time.monotonic()

    assert client.get(f"{_path(job)}?wait=30").get_json()["state"] == "succeeded"

    assert time.monotonic() - started < 25


def test_one_who_waits_in_vain_is_answered_when_the_time_is_over(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.submit()
    started = time.monotonic()

    response = client.get(f"{_path(job)}?wait=0.4")

    assert time.monotonic() - started >= 0.4
    assert (response.status_code, response.get_json()["state"]) == (200, "queued")
    assert response.headers["Retry-After"] == "1"


def test_more_may_wait_than_there_are_connections_and_all_are_told(client: FlaskClient, in_process: InProcess) -> None:
    jobs = [in_process.submit(dataset=f"d{number}") for number in range(4)]
    waiting = 3 * CONNECTIONS
    started = time.monotonic()

    def wait(number: int) -> str:
        path = f"{_path(jobs[number % 4])}?wait=30"
        return str(client.application.test_client().get(path).get_json()["state"])

    with ThreadPoolExecutor(waiting) as threads:
        states = threads.map(wait, range(waiting))
        wait_until(lambda: _waiting(client) == 4, "all wait")
        assert client.get("/api/v1/jobs").status_code == 200
        for job in jobs:
            in_process.run_job(job)

        assert set(states) == {"failed"}  # there are no such datasets
    assert time.monotonic() - started < 25
    wait_until(lambda: _waiting(client) == 0, "nobody is remembered")


def _waiting(client: FlaskClient) -> int:
    return len(client.application.extensions["services"].watch.waited_for())


def test_one_who_waits_is_answered_503_when_the_database_goes(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.submit()
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(client.application.test_client().get, f"{_path(job)}?wait=30")
        wait_until(lambda: _waiting(client) == 1, "it waits")
        in_process.execute("ALTER TABLE jobs RENAME TO jobs_elsewhere")

        problem(answer.result(20), 503, "schema_not_ready")
    in_process.execute("ALTER TABLE jobs_elsewhere RENAME TO jobs")


def test_a_time_to_wait_that_is_none_is_refused(client: FlaskClient, in_process: InProcess) -> None:
    path = _path(in_process.submit())
    for text in ("", "-1", "30.1", "999", "4e1", "nan", "inf", "soon", "1s", "%D9%A1"):
        body = problem(client.get(f"{path}?wait={text}"), 422, "invalid_parameter")
        assert (body["parameter"], body["detail"]) == ("wait", "wait: seconds, from 0 to 30")


def test_a_time_to_wait_may_be_written_as_any_number(client: FlaskClient, in_process: InProcess) -> None:
    """/openapi.json says that it is one, and a program writes 0.00001 as 1e-05."""
    path = _path(in_process.submit())
    for text in ("0", "0.001", "1e-05", "1E-2", "5.960464477539063e-08"):
        assert client.get(f"{path}?wait={text}").status_code == 200


def test_an_unknown_or_repeated_parameter_is_refused(client: FlaskClient, in_process: InProcess) -> None:
    path = _path(in_process.submit())

    assert problem(client.get(f"{path}?wiat=1"), 422, "invalid_parameter")["parameter"] == "wiat"
    assert problem(client.get(f"{path}?wait=1&wait=2"), 422, "invalid_parameter")["parameter"] == "wait"


def test_what_is_not_published_is_linked_by_its_job(client: FlaskClient, in_process: InProcess) -> None:
    in_process.run()
    dry_run = in_process.run(mode="dry_run")

    link = client.get(f"/api/v1/jobs/{dry_run.id}").get_json()["links"]["features"]

    assert client.get(link).get_json()["items"][0]["job_id"] == str(dry_run.id)
