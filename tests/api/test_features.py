"""GET /api/v1/features"""

import json
from base64 import urlsafe_b64encode
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import uuid6
from flask.testing import FlaskClient

from api import versions as api_versions
from tests.api.conftest import problem
from tests.conftest import InProcess
from worker import versions
from worker.jobs import Job

PATH = "/api/v1/features"


def _cursor(*parts: object) -> str:
    """A cursor as somebody might make one up."""
    return urlsafe_b64encode("|".join(map(str, parts)).encode()).decode().rstrip("=")


def _in_json(row: dict[str, Any]) -> Any:
    return json.loads(
        json.dumps(row, default=lambda value: value.isoformat() if isinstance(value, date | datetime) else str(value))
    )


def _add_user(data_dir: Path, user_id: int = 15) -> None:
    with (data_dir / "users.csv").open("a") as file:
        file.write(f"\n{user_id},\tOlga,\tolga@example.com,\t2024-01-01")


@pytest.fixture
def published(in_process: InProcess) -> Job:
    return in_process.run()


def test_the_rows_are_those_of_the_view_with_its_columns_in_its_order(
    client: FlaskClient, in_process: InProcess, published: Job
) -> None:
    rows = in_process.query("SELECT * FROM user_features ORDER BY user_id")

    response = client.get(PATH)

    assert (response.status_code, response.mimetype) == (200, "application/json")
    page = response.get_json()
    assert page == {"items": [_in_json(row) for row in rows], "next_cursor": None}
    assert [list(item) for item in page["items"]] == [list(row) for row in rows]
    assert {item["job_id"] for item in page["items"]} == {str(published.id)}


def test_a_user_without_experiments_has_a_row_with_nulls(client: FlaskClient, published: Job) -> None:
    [user] = client.get(f"{PATH}?user_id=7").get_json()["items"]

    assert user["job_id"] == str(published.id)
    assert (user["name"], user["signup_date"]) == ("Grace", "2023-05-30")
    assert (user["total_experiments"], user["average_run_time"], user["most_common_compound_ids"]) == (0, None, None)


def test_letters_beyond_ascii_arrive_as_they_are(client: FlaskClient, published: Job) -> None:
    response = client.get(f"{PATH}?user_id=5")

    assert response.get_json()["items"][0]["job_id"] == str(published.id)
    assert '"name":"Élodie"'.encode() in response.data


@pytest.mark.usefixtures("published")
def test_the_pages_together_are_the_list(client: FlaskClient) -> None:
    whole = client.get(PATH).get_json()["items"]

    pages = [client.get(f"{PATH}?limit=5").get_json()]
    while pages[-1]["next_cursor"]:
        pages.append(client.get(PATH, query_string={"limit": 5, "cursor": pages[-1]["next_cursor"]}).get_json())

    assert [len(page["items"]) for page in pages] == [5, 5, 4]
    assert [item for page in pages for item in page["items"]] == whole


@pytest.mark.usefixtures("published")
def test_a_list_that_ends_with_a_full_page_has_no_further_one(client: FlaskClient) -> None:
    assert client.get(f"{PATH}?limit=14").get_json()["next_cursor"] is None


@pytest.mark.usefixtures("published")
def test_a_cursor_of_another_dataset_is_none(client: FlaskClient) -> None:
    cursor = client.get(f"{PATH}?limit=5").get_json()["next_cursor"]

    assert client.get(f"{PATH}?dataset=default&cursor={cursor}").status_code == 200
    problem(client.get(f"{PATH}?dataset=other&cursor={cursor}"), 422, "invalid_parameter")


def test_the_pages_stay_with_their_version_while_another_is_published(
    client: FlaskClient, in_process: InProcess, published: Job
) -> None:
    first = client.get(f"{PATH}?limit=10").get_json()
    _add_user(in_process.settings.data_dir)
    newer = in_process.run()

    second = client.get(f"{PATH}?limit=10&cursor={first['next_cursor']}").get_json()

    assert in_process.published() == newer.id
    assert {item["job_id"] for item in first["items"] + second["items"]} == {str(published.id)}
    assert [item["user_id"] for item in second["items"]] == [11, 12, 13, 14]
    assert len(client.get(PATH).get_json()["items"]) == 15


@pytest.mark.usefixtures("published")
def test_pages_whose_version_was_dropped_are_a_404_and_not_the_end_of_the_list(
    client: FlaskClient, in_process: InProcess
) -> None:
    cursor = client.get(f"{PATH}?limit=10").get_json()["next_cursor"]
    in_process.run(force=True)
    versions.drop_old(in_process.engine, keep=1)

    problem(client.get(f"{PATH}?cursor={cursor}"), 404, "unknown_version")


def test_a_kept_version_is_read_by_its_job(client: FlaskClient, in_process: InProcess, published: Job) -> None:
    _add_user(in_process.settings.data_dir)
    newer = in_process.run()

    old_page, new_page = (client.get(f"{PATH}?job={job.id}").get_json()["items"] for job in (published, newer))

    assert (len(old_page), len(new_page)) == (14, 15)
    assert {item["job_id"] for item in old_page} == {str(published.id)}


def test_a_version_that_is_not_kept_is_a_404(client: FlaskClient, in_process: InProcess, published: Job) -> None:
    in_process.run(force=True)
    versions.drop_old(in_process.engine, keep=1)
    unpublished = in_process.submit()

    for job in (published.id, unpublished.id, uuid6.uuid7(), "x", ""):
        problem(client.get(f"{PATH}?job={job}"), 404, "unknown_version")


def test_a_version_that_is_about_to_go_is_a_404_and_never_an_empty_list(
    client: FlaskClient, in_process: InProcess, published: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its partition goes after it was found to be kept."""
    in_process.run(force=True)
    columns, partition = api_versions.columns, f'"user_feature_versions_{published.id.hex}"'

    def go(connection: sa.Connection) -> list[str]:
        in_process.execute(f"ALTER TABLE user_feature_versions DETACH PARTITION {partition}")
        return columns(connection)

    monkeypatch.setattr(api_versions, "columns", go)

    problem(client.get(f"{PATH}?job={published.id}"), 404, "unknown_version")


def test_a_version_is_asked_for_by_job_or_by_dataset(client: FlaskClient, published: Job) -> None:
    response = client.get(f"{PATH}?job={published.id}&dataset=default")

    assert problem(response, 422, "invalid_parameter")["parameter"] == "job"


def test_one_user_is_found_by_id(client: FlaskClient, in_process: InProcess, published: Job) -> None:
    [row] = in_process.query("SELECT * FROM user_features WHERE user_id = 3")
    assert client.get(f"{PATH}?user_id=3").get_json() == {"items": [_in_json(row)], "next_cursor": None}
    assert client.get(f"{PATH}?user_id=99&job={published.id}").get_json() == {"items": [], "next_cursor": None}


@pytest.mark.usefixtures("published")
def test_a_user_id_that_is_none_is_refused(client: FlaskClient) -> None:
    for text in ("", "x", "1.0", "1 or 1=1", str(1 << 63), str(-(1 << 63) - 1), "%D9%A1", "9" * 5000):
        body = problem(client.get(f"{PATH}?user_id={text}"), 422, "invalid_parameter")
        assert (body["parameter"], body["detail"]) == ("user_id", "user_id: a 64-bit whole number")
    for text in (str((1 << 63) - 1), str(-(1 << 63))):
        assert client.get(f"{PATH}?user_id={text}").status_code == 200


def test_what_is_not_published_is_a_404(client: FlaskClient, in_process: InProcess) -> None:
    """Neither a dataset that nobody knows, nor one whose first job has not published yet."""
    in_process.submit()

    for query in ("", "?dataset=default", "?dataset=absent", "?dataset=..", "?dataset="):
        problem(client.get(PATH + query), 404, "not_published")


def test_a_dataset_with_a_nul_in_its_name_is_refused_or_not_found(client: FlaskClient) -> None:
    """No text of Postgres has one, so the driver must not come to see it."""
    assert client.get(f"{PATH}?dataset=a%00b").status_code == 422


def test_each_dataset_shows_its_own_rows(client: FlaskClient, in_process: InProcess, published: Job) -> None:
    second = in_process.settings.data_dir / "second"
    second.mkdir()
    for file in ("users", "compounds", "user_experiments"):
        (second / f"{file}.csv").write_bytes((in_process.settings.data_dir / f"{file}.csv").read_bytes())
    job = in_process.run(dataset="second")

    items = client.get(f"{PATH}?dataset=second").get_json()["items"]

    assert {(item["dataset"], item["job_id"]) for item in items} == {("second", str(job.id))}
    assert {item["job_id"] for item in client.get(PATH).get_json()["items"]} == {str(published.id)}


def test_a_cursor_that_is_none_is_refused(client: FlaskClient, published: Job) -> None:
    made_up = ["", "x", "%00", "%ff", "AA", _cursor(published.id), _cursor(published.id, "x"), _cursor(1, 2, 3)]
    for text in made_up:
        body = problem(client.get(f"{PATH}?cursor={text}"), 422, "invalid_parameter")
        assert body["parameter"] == "cursor"


def test_a_cursor_beyond_every_user_is_the_end_of_the_list(client: FlaskClient, published: Job) -> None:
    response = client.get(f"{PATH}?cursor={_cursor(published.id, '9' * 19)}")

    assert response.get_json() == {"items": [], "next_cursor": None}


def test_a_limit_that_is_none_is_refused(client: FlaskClient) -> None:
    for text in ("0", "1001", "x"):
        assert problem(client.get(f"{PATH}?limit={text}"), 422, "invalid_parameter")["parameter"] == "limit"


def test_an_unknown_or_repeated_parameter_is_refused(client: FlaskClient) -> None:
    body = problem(client.get(f"{PATH}?userid=1"), 422, "invalid_parameter")
    assert body["detail"].startswith("userid: there is no such parameter; allowed are cursor, dataset, format, job, ")
    assert problem(client.get(f"{PATH}?limit=1&limit=2"), 422, "invalid_parameter")["parameter"] == "limit"
