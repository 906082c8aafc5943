"""GET /api/v1/jobs/{id}/rejections"""

import csv
import io

import pytest
import uuid6
from flask.testing import FlaskClient

from tests.api.conftest import problem
from tests.conftest import InProcess
from worker import versions
from worker.jobs import Job


@pytest.fixture
def job(in_process: InProcess) -> Job:
    """A job with three lines that do not count."""
    directory = in_process.settings.data_dir
    with (directory / "users.csv").open("a") as file:
        file.write("\n15,\tOlga,\tolga@example.com,\tsoon\nx,\tPia,\tpia@example.com,\t2024-01-01")
    with (directory / "user_experiments.csv").open("a") as file:
        file.write("\n38,\t99,\t1,\t5")
    return in_process.run(max_rejected_ratio=0.5)


def test_every_rejected_line_is_named_with_its_cause(client: FlaskClient, job: Job) -> None:
    page = client.get(f"/api/v1/jobs/{job.id}/rejections").get_json()

    assert page["next_cursor"] is None
    assert [list(item) for item in page["items"]] == [["file", "line", "column", "code", "message", "value"]] * 3
    assert [(item["file"], item["line"], item["code"]) for item in page["items"]] == [
        ("users.csv", 17, "invalid_date"),
        ("users.csv", 18, "invalid_integer"),
        ("user_experiments.csv", 40, "unknown_user"),
    ]


def test_rejections_are_found_by_file_and_code(client: FlaskClient, job: Job) -> None:
    def lines(query: str) -> list[int]:
        items = client.get(f"/api/v1/jobs/{job.id}/rejections?{query}").get_json()["items"]
        return [item["line"] for item in items]

    assert lines("file=users.csv") == [17, 18]
    assert lines("file=users.csv&code=invalid_date") == [17]
    assert lines("code=unknown_user") == [40]
    assert lines("code=unheard_of") == []


def test_the_pages_together_are_the_list(client: FlaskClient, job: Job) -> None:
    path = f"/api/v1/jobs/{job.id}/rejections"
    whole = client.get(path).get_json()["items"]

    first = client.get(f"{path}?limit=2").get_json()
    second = client.get(f"{path}?limit=2&cursor={first['next_cursor']}").get_json()

    assert first["items"] + second["items"] == whole
    assert second["next_cursor"] is None


def test_a_job_without_rejections_has_an_empty_list(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.run()

    assert client.get(f"/api/v1/jobs/{job.id}/rejections").get_json() == {"items": [], "next_cursor": None}


def test_the_rejections_of_an_unknown_job_are_a_404(client: FlaskClient) -> None:
    for job_id in (uuid6.uuid7(), "x"):
        problem(client.get(f"/api/v1/jobs/{job_id}/rejections"), 404, "unknown_job")


def test_a_cursor_that_is_none_is_refused(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.submit()
    for text in ("x", "-", "AA", "LTE", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5"):
        body = problem(client.get(f"/api/v1/jobs/{job.id}/rejections?cursor={text}"), 422, "invalid_parameter")
        assert body["parameter"] == "cursor"


def test_a_nul_in_a_search_is_refused_or_finds_nothing(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.submit()
    for name in ("file", "code"):
        assert client.get(f"/api/v1/jobs/{job.id}/rejections?{name}=a%00b").status_code == 422


def test_what_is_not_kept_any_more_is_a_404_and_no_empty_list(
    client: FlaskClient, in_process: InProcess, job: Job
) -> None:
    in_process.run(force=True, max_rejected_ratio=0.5)
    versions.drop_old(in_process.engine, keep=1)

    for headers in ({}, {"Accept": "text/csv"}):
        problem(client.get(f"/api/v1/jobs/{job.id}/rejections", headers=headers), 404, "unknown_version")


def test_an_unchanged_job_says_whose_the_rejections_are(client: FlaskClient, in_process: InProcess, job: Job) -> None:
    unchanged = in_process.run(max_rejected_ratio=0.5)

    body = problem(client.get(f"/api/v1/jobs/{unchanged.id}/rejections"), 404, "unknown_version")

    assert str(job.id) in body["detail"]


# --- CSV


def _csv(client: FlaskClient, path: str) -> list[list[str]]:
    response = client.get(path, headers={"Accept": "text/csv"})
    assert (response.status_code, response.mimetype) == (200, "text/csv")
    return list(csv.reader(io.StringIO(response.text)))


def test_csv_has_the_same_rejections_in_the_same_order(client: FlaskClient, job: Job) -> None:
    path = f"/api/v1/jobs/{job.id}/rejections"
    items = client.get(path).get_json()["items"]

    header, *lines = _csv(client, path)

    assert header == ["file", "line", "column", "code", "message", "value"]
    assert lines == [["" if value is None else str(value) for value in item.values()] for item in items]
    assert [line[1] for line in _csv(client, f"{path}?file=users.csv&code=invalid_date")[1:]] == ["17"]


def test_csv_does_not_run_what_a_file_holds_and_json_shows_it(client: FlaskClient, in_process: InProcess) -> None:
    values = ["=cmd|' /C calc'!A0", "@SUM(1)", "+1+1", "-5"]
    with (in_process.settings.data_dir / "users.csv").open("a") as file:
        file.writelines(f"\n{value},n,e,2024-01-01" for value in values[:3])
    with (in_process.settings.data_dir / "user_experiments.csv").open("a") as file:
        file.write("\n38,1,1,-5")
    path = f"/api/v1/jobs/{in_process.run(max_rejected_ratio=0.5).id}/rejections"

    assert [line[5] for line in _csv(client, path)[1:]] == ["'=cmd|' /C calc'!A0", "'@SUM(1)", "'+1+1", "-5"]
    assert [item["value"] for item in client.get(path).get_json()["items"]] == values


def test_csv_holds_all_rejections_however_many(client: FlaskClient, in_process: InProcess) -> None:
    with (in_process.settings.data_dir / "users.csv").open("a") as file:
        file.writelines(f'\nx{n},"a ""name"", with\nbreaks",e,soon' for n in range(2500))
    job = in_process.run(max_rejected_ratio=1)

    lines = _csv(client, f"/api/v1/jobs/{job.id}/rejections")[1:]

    assert [int(line[1]) for line in lines] == list(range(17, 17 + 2 * 2500, 2))
    assert lines[7][5] == "x7"


def test_a_browser_and_a_client_that_takes_anything_get_json(client: FlaskClient, job: Job) -> None:
    for accept in ("*/*", "text/html,application/xhtml+xml,*/*;q=0.8", "application/json, text/csv"):
        response = client.get(f"/api/v1/jobs/{job.id}/rejections", headers={"Accept": accept})
        assert response.mimetype == "application/json"


def test_csv_has_no_pages_and_an_unknown_job_has_none(client: FlaskClient, job: Job) -> None:
    headers = {"Accept": "text/csv"}
    problem(client.get(f"/api/v1/jobs/{job.id}/rejections?limit=5", headers=headers), 422, "invalid_parameter")
    problem(client.get(f"/api/v1/jobs/{uuid6.uuid7()}/rejections", headers=headers), 404, "unknown_job")
