"""POST /api/v1/jobs"""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from api.security import REQUEST_BYTES_MAX
from tests.api.conftest import DEAD_DATABASE, DEAD_REDIS, ClientWith, problem
from tests.conftest import SAMPLE, InProcess, await_silence
from worker import queue

PATH = "/api/v1/jobs"


def _rows(in_process: InProcess) -> list[dict[str, Any]]:
    return in_process.query("SELECT * FROM jobs ORDER BY created_at, id")


def _rung(client: FlaskClient, in_process: InProcess) -> list[str]:
    await_silence(client.application)
    with redis.Redis.from_url(in_process.settings.redis_url) as connection:
        return [json.loads(message)["headers"]["id"] for message in connection.lrange(queue.QUEUE, 0, -1)]


def test_a_post_without_body_and_headers_runs_the_default_dataset(client: FlaskClient, in_process: InProcess) -> None:
    response = client.open(PATH, method="POST", headers={})

    job = response.get_json()
    assert response.status_code == 202
    assert (job["dataset"], job["mode"], job["state"], job["attempt"]) == ("default", "publish", "queued", 0)
    [row] = _rows(in_process)
    assert str(row["id"]) == job["id"]
    assert (row["engine"], row["force"], row["max_rejected_ratio"]) == ("duckdb", False, 0.1)


def test_the_answer_says_where_to_look_and_when(client: FlaskClient) -> None:
    response = client.post(PATH)

    assert response.mimetype == "application/json"
    assert response.headers["Location"] == f"{PATH}/{response.get_json()['id']}"
    assert response.headers["Retry-After"] == "1"
    assert client.get(response.headers["Location"]).get_json() == response.get_json()


def test_the_queue_is_rung_once_with_the_jobs_id(client: FlaskClient, in_process: InProcess) -> None:
    job = client.post(PATH).get_json()

    assert _rung(client, in_process) == [job["id"]]


def test_an_empty_object_is_the_same_as_no_body(client: FlaskClient) -> None:
    job = client.post(PATH, json={}).get_json()

    assert (job["dataset"], job["mode"]) == ("default", "publish")


def test_everything_that_can_be_asked_for_is_in_the_row(client: FlaskClient, in_process: InProcess) -> None:
    shutil.copytree(SAMPLE, in_process.settings.data_dir / "second")
    wanted = {"dataset": "second", "mode": "dry_run", "engine": "duckdb", "force": True, "max_rejected_ratio": 0.25}

    assert client.post(PATH, json=wanted).status_code == 202

    [row] = _rows(in_process)
    assert {name: row[name] for name in wanted} == wanted


def test_what_is_not_asked_for_comes_from_the_settings(client_with: ClientWith, in_process: InProcess) -> None:
    client_with(max_rejected_ratio=0.3).post(PATH)

    assert _rows(in_process)[0]["max_rejected_ratio"] == 0.3


def test_spark_is_refused_where_there_is_no_cluster(client: FlaskClient, in_process: InProcess) -> None:
    answer = client.post(PATH, json={"engine": "spark"})

    assert (answer.status_code, answer.get_json()["code"]) == (409, "engine_unavailable")
    assert answer.get_json()["detail"].startswith("engine: there is no Spark cluster here (SPARK_REMOTE is not set)")
    assert _rows(in_process) == []


def test_spark_is_accepted_where_there_may_be_a_cluster(client_with: ClientWith, in_process: InProcess) -> None:
    assert client_with(spark_remote="sc://127.0.0.1:9").post(PATH, json={"engine": "spark"}).status_code == 202

    assert _rows(in_process)[0]["engine"] == "spark"


def test_a_share_may_be_a_whole_number(client: FlaskClient) -> None:
    for ratio in (0, 1, 0.0, 1.0):
        assert client.post(PATH, json={"max_rejected_ratio": ratio}).status_code == 202


@pytest.fixture(scope="module")
def wrong_values() -> list[tuple[str, Any, str]]:
    """Field, value, what is allowed."""
    return [
        ("mode", "publsh", "one of publish, dry_run"),
        ("mode", None, "one of publish, dry_run"),
        ("mode", ["publish"], "one of publish, dry_run"),
        ("engine", "pandas", "one of duckdb, spark"),
        ("engine", {}, "one of duckdb, spark"),
        ("force", "true", "true or false"),
        ("force", 1, "true or false"),
        ("force", None, "true or false"),
        ("max_rejected_ratio", 1.1, "a number from 0 to 1"),
        ("max_rejected_ratio", -0.1, "a number from 0 to 1"),
        ("max_rejected_ratio", "0.1", "a number from 0 to 1"),
        ("max_rejected_ratio", True, "a number from 0 to 1"),
        ("max_rejected_ratio", None, "a number from 0 to 1"),
        ("max_rejected_ratio", float("nan"), "a number from 0 to 1"),
        ("max_rejected_ratio", float("inf"), "a number from 0 to 1"),
        ("max_rejected_ratio", 10**400, "a number from 0 to 1"),
    ]


def test_a_wrong_value_is_answered_with_its_field_and_what_is_allowed(
    client: FlaskClient, in_process: InProcess, wrong_values: list[tuple[str, Any, str]]
) -> None:
    for field, value, allowed in wrong_values:
        body = problem(client.post(PATH, json={field: value}), 422, "invalid_parameter")
        assert (body["parameter"], body["detail"]) == (field, f"{field}: {allowed}")

    assert _rows(in_process) == []


def test_a_dataset_that_is_no_text_is_a_wrong_value(client: FlaskClient) -> None:
    for value in (5, None, ["default"], {"name": "default"}, True):
        body = problem(client.post(PATH, json={"dataset": value}), 422, "invalid_parameter")
        assert body["parameter"] == "dataset"


def test_an_unknown_field_is_named_with_those_that_exist(client: FlaskClient, in_process: InProcess) -> None:
    body = problem(client.post(PATH, json={"datset": "default"}), 422, "invalid_parameter")

    assert body["parameter"] == "datset"
    assert body["detail"] == (
        "datset: there is no such parameter; allowed are dataset, engine, force, max_rejected_ratio, mode"
    )
    assert _rows(in_process) == []


def test_an_unknown_field_is_named_whatever_its_name(client: FlaskClient) -> None:
    """A lone surrogate is valid in JSON's escapes and in no encoding."""
    for name in ('"', "\\n", "\\u0000", "\\ud800", "ä", ""):
        content = f'{{"{name}": 1}}' if name != '"' else '{"\\"": 1}'
        response = client.post(PATH, data=content.encode(), content_type="application/json")
        problem(response, 422, "invalid_parameter")


def test_what_belongs_into_the_body_is_refused_in_the_address(client: FlaskClient, in_process: InProcess) -> None:
    body = problem(client.post(f"{PATH}?dataset=second"), 422, "invalid_parameter")

    assert body["detail"] == "dataset: there is no such parameter; allowed are none"
    assert _rows(in_process) == []


def test_a_dataset_that_is_not_there_is_a_404(client: FlaskClient, in_process: InProcess) -> None:
    for name in ("absent", "", "..", "../data", "/etc", "a\0b", "A", "x" * 10_000):
        body = problem(client.post(PATH, json={"dataset": name}), 404, "unknown_dataset")
        assert "there is no dataset" in body["detail"]

    assert _rows(in_process) == []
    assert in_process.query("SELECT name FROM datasets") == []


def test_a_body_that_is_not_declared_as_json_is_a_415(client: FlaskClient, in_process: InProcess) -> None:
    for content_type in (None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"):
        body = problem(client.post(PATH, data=b'{"force": true}', content_type=content_type), 415, "not_json")
        assert "Content-Type: application/json" in body["detail"]

    assert _rows(in_process) == []


def test_a_content_type_may_have_parameters(client: FlaskClient) -> None:
    response = client.post(PATH, data=b'{"force": true}', content_type="Application/JSON; charset=utf-8")

    assert response.status_code == 202


def test_a_body_that_is_no_json_is_a_400(client: FlaskClient, in_process: InProcess) -> None:
    for content in (b"{", b"x", b"\xff\xfe", b'{"force": tru', b'{"a": ' + b"1" * 5000 + b"}"):
        problem(client.post(PATH, data=content, content_type="application/json"), 400, "invalid_json")

    assert _rows(in_process) == []


def test_json_that_is_no_object_is_a_400(client: FlaskClient, in_process: InProcess) -> None:
    for content in (b"[]", b'"default"', b"null", b"1", b"true", b"[" * 30_000):
        problem(client.post(PATH, data=content, content_type="application/json"), 400, "not_an_object")

    assert _rows(in_process) == []


@pytest.mark.parametrize("phrase", ["Request Entity Too Large", "Content Too Large"])
def test_a_body_that_is_too_large_is_a_413_with_one_code_under_every_python(
    client: FlaskClient, in_process: InProcess, monkeypatch: pytest.MonkeyPatch, phrase: str
) -> None:
    """The status has the first phrase up to Python 3.12 and the second from 3.13 on, which is the image's."""
    monkeypatch.setattr(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "phrase", phrase)
    too_large = b" " * (REQUEST_BYTES_MAX + 1)

    problem(client.post(PATH, data=too_large, content_type="application/json"), 413, "request_entity_too_large")

    assert _rows(in_process) == []


def test_a_full_queue_is_a_429_and_leaves_no_row(client_with: ClientWith, in_process: InProcess) -> None:
    client = client_with(max_queued_jobs=1)
    client.post(PATH)

    response = client.post(PATH)

    body = problem(response, 429, "queue_full")
    assert body["detail"] == "as many jobs wait as may (MAX_QUEUED_JOBS=1); nothing was accepted"
    assert int(response.headers["Retry-After"]) > 0
    assert len(_rows(in_process)) == 1


# --- Idempotency-Key


def test_a_repeated_post_with_the_same_key_is_the_same_job(client: FlaskClient, in_process: InProcess) -> None:
    headers = {"Idempotency-Key": "abc-1"}
    first = client.post(PATH, headers=headers)

    second = client.post(PATH, headers=headers)

    assert (second.status_code, second.get_json()) == (202, first.get_json())
    assert second.headers["Location"] == first.headers["Location"]
    assert len(_rows(in_process)) == 1
    assert len(_rung(client, in_process)) == 1


def test_a_post_repeated_after_the_job_is_done_shows_the_done_job(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.run(idempotency_key="abc-1")

    response = client.post(PATH, headers={"Idempotency-Key": "abc-1"})

    assert response.status_code == 202
    assert (response.get_json()["id"], response.get_json()["state"]) == (str(job.id), "succeeded")


def test_a_key_that_was_used_for_another_request_is_refused(client: FlaskClient, in_process: InProcess) -> None:
    headers = {"Idempotency-Key": "abc-1"}
    client.post(PATH, headers=headers)

    response = client.post(PATH, json={"force": True}, headers=headers)

    problem(response, 422, "idempotency_conflict")
    assert len(_rows(in_process)) == 1


def test_a_key_that_is_none_is_refused(client: FlaskClient, in_process: InProcess) -> None:
    for key in ("", "two words", "x" * 201, "ä"):
        response = client.post(PATH, headers={"Idempotency-Key": key})
        assert problem(response, 422, "invalid_parameter")["parameter"] == "Idempotency-Key"

    assert _rows(in_process) == []


def test_posts_with_one_key_at_the_same_time_make_one_job(client: FlaskClient, in_process: InProcess) -> None:
    def post(_: int) -> str:
        answer = client.application.test_client().post(PATH, headers={"Idempotency-Key": "abc-1"})
        assert answer.status_code == 202
        return str(answer.get_json()["id"])

    with ThreadPoolExecutor(8) as threads:
        ids = set(threads.map(post, range(16)))

    assert ids == {str(row["id"]) for row in _rows(in_process)}
    assert len(ids) == 1


# --- what is behind it


def test_a_job_is_accepted_although_redis_is_dead(client_with: ClientWith, in_process: InProcess) -> None:
    response = client_with(redis_url=DEAD_REDIS).post(PATH)

    assert response.status_code == 202
    assert [str(row["id"]) for row in _rows(in_process)] == [response.get_json()["id"]]


def test_nothing_is_accepted_without_the_database(client_with: ClientWith) -> None:
    response = client_with(database_url=DEAD_DATABASE).post(PATH)

    problem(response, 503, "database_unavailable")
    assert int(response.headers["Retry-After"]) > 0
