"""GET /api/v1/jobs/{id}/diff"""

import shutil
from base64 import urlsafe_b64encode
from typing import Any

import pytest
import sqlalchemy as sa
import uuid6
from flask.testing import FlaskClient

import api.versions
from api import diff
from etl.features import USER_CATALOGUE
from tests.api.conftest import problem
from tests.conftest import SAMPLE, InProcess
from worker import versions
from worker.jobs import Job

COLUMNS = ["name", "email", "signup_date", *USER_CATALOGUE.columns]


def _diff(client: FlaskClient, job: Job, **query: object) -> dict[str, Any]:
    response = client.get(f"/api/v1/jobs/{job.id}/diff", query_string=query)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.get_json()
    return body


@pytest.fixture
def published(in_process: InProcess) -> Job:
    return in_process.run()


@pytest.fixture
def changed(in_process: InProcess, published: Job) -> Job:
    """A dry run: user 3 has another name, 7 (who has no experiments) is gone, -1 and 15 are new."""
    data_dir = in_process.settings.data_dir
    text = (data_dir / "users.csv").read_text().splitlines()
    lines = [line.replace("Carol", "Caroline") for line in text if not line.startswith("7,")]
    lines += ["15,\tOlga,\tolga@example.com,\t2024-01-01", "-1,\tPia,\tpia@example.com,\t2024-01-02"]
    (data_dir / "users.csv").write_text("\n".join(lines))
    job = in_process.run(mode="dry_run")
    assert (job.outcome, in_process.published()) == ("dry_run", published.id)
    return job


def test_users_that_were_added_removed_and_changed_are_listed_by_id(
    client: FlaskClient, changed: Job, published: Job
) -> None:
    body = _diff(client, changed)

    assert list(body) == ["job_id", "against", "counts", "items", "next_cursor"]
    assert (body["job_id"], body["against"]) == (str(changed.id), str(published.id))
    assert body["counts"] == {"added": 2, "removed": 1, "changed": 1}
    assert [(item["user_id"], item["change"]) for item in body["items"]] == [
        (-1, "added"),
        (3, "changed"),
        (7, "removed"),
        (15, "added"),
    ]
    assert body["next_cursor"] is None


def test_a_changed_user_has_the_columns_that_changed(client: FlaskClient, changed: Job) -> None:
    [user] = [item for item in _diff(client, changed)["items"] if item["change"] == "changed"]

    assert user == {
        "user_id": 3,
        "change": "changed",
        "columns": {"name": {"old": "Carol", "new": "Caroline"}},
    }


def test_an_added_or_removed_user_has_all_columns(client: FlaskClient, changed: Job) -> None:
    items = {item["user_id"]: item["columns"] for item in _diff(client, changed)["items"]}

    assert list(items[15]) == list(items[7]) == COLUMNS
    assert items[15]["signup_date"] == {"old": None, "new": "2024-01-01"}
    assert items[15]["total_experiments"] == {"old": None, "new": 0}
    assert items[7]["name"] == {"old": "Grace", "new": None}
    assert {pair["new"] for pair in items[7].values()} == {None}


def test_the_other_way_round_is_the_opposite(client: FlaskClient, changed: Job, published: Job) -> None:
    body = _diff(client, published, against=changed.id)

    assert body["counts"] == {"added": 1, "removed": 2, "changed": 1}
    assert [item["change"] for item in body["items"]] == ["removed", "changed", "added", "removed"]
    assert body["items"][1]["columns"] == {"name": {"old": "Caroline", "new": "Carol"}}


def test_the_smallest_difference_of_a_number_is_one(client: FlaskClient, in_process: InProcess, published: Job) -> None:
    job = in_process.run(force=True)
    in_process.execute(
        "UPDATE user_feature_versions SET average_run_time = average_run_time + 1e-15 * average_run_time"
        " WHERE job_id = :id AND user_id = 3",
        id=job.id,
    )

    [item] = _diff(client, job, against=published.id)["items"]

    assert list(item["columns"]) == ["average_run_time"]
    assert item["columns"]["average_run_time"]["old"] != item["columns"]["average_run_time"]["new"]


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_counts_also_from_and_to_null(
    client: FlaskClient, in_process: InProcess, published: Job, column: str
) -> None:
    job = in_process.run(force=True)
    nullable = column not in ("name", "email", "signup_date")
    other = "NULL" if nullable else {"signup_date": "'2000-01-01'"}.get(column, "'x'")
    change = f"UPDATE user_feature_versions SET {column} = {other} WHERE job_id = :id AND user_id = 3"  # noqa: S608
    in_process.execute(change, id=job.id)

    for new, against in ((job, published), (published, job)):
        body = _diff(client, new, against=against.id)
        assert body["counts"] == {"added": 0, "removed": 0, "changed": 1}
        assert [list(item["columns"]) for item in body["items"]] == [[column]]


def test_a_published_version_does_not_differ_from_itself(client: FlaskClient, published: Job) -> None:
    body = _diff(client, published)

    assert (body["counts"], body["items"]) == ({"added": 0, "removed": 0, "changed": 0}, [])


def test_a_held_version_is_compared_with_the_published_one(
    client: FlaskClient, in_process: InProcess, published: Job
) -> None:
    in_process.lose_users(left=5)
    held = in_process.run(max_rejected_ratio=1.0)
    assert held.outcome == "held"

    body = _diff(client, held)

    assert body["against"] == str(published.id)
    assert (body["counts"]["added"], body["counts"]["removed"]) == (0, 9)
    rows = client.get(f"/api/v1/features?job={held.id}").get_json()["items"]
    assert [row["user_id"] for row in rows] == [1, 2, 3, 4, 5]


# --- pages


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_the_pages_together_are_the_list(client: FlaskClient, changed: Job, published: Job, limit: int) -> None:
    for new, against in ((changed, published), (published, changed)):
        whole = _diff(client, new, against=against.id)["items"]

        pages = [_diff(client, new, against=against.id, limit=limit)]
        while pages[-1]["next_cursor"]:
            pages.append(_diff(client, new, limit=limit, cursor=pages[-1]["next_cursor"]))
            assert len(pages) <= len(whole)

        assert [item for page in pages for item in page["items"]] == whole
        assert {len(page["items"]) for page in pages[:-1]} <= {limit}
        assert pages[-1]["items"]


def test_the_counts_are_on_the_first_page(client: FlaskClient, changed: Job) -> None:
    first = _diff(client, changed, limit=2)
    second = _diff(client, changed, limit=2, cursor=first["next_cursor"])

    assert first["counts"] == {"added": 2, "removed": 1, "changed": 1}
    assert second["counts"] is None


def test_the_pages_stay_with_their_versions_while_another_is_published(
    client: FlaskClient, in_process: InProcess, changed: Job, published: Job
) -> None:
    whole = _diff(client, changed)["items"]
    first = _diff(client, changed, limit=2)
    newer = in_process.run()

    second = _diff(client, changed, limit=2, cursor=first["next_cursor"])

    assert in_process.published() == newer.id
    assert second["against"] == str(published.id)
    assert first["items"] + second["items"] == whole


def test_a_page_reads_no_further_than_it_is_long(in_process: InProcess, changed: Job, published: Job) -> None:
    """Both versions side by side along their primary keys, and nothing of any other version; without statistics."""
    in_process.run(mode="dry_run")
    values = {"old": published.id, "new": changed.id, "first": -1, "last": 99, "limit": 2}
    with in_process.engine.connect() as connection:
        connection.execute(sa.text(diff._SIDE_BY_SIDE))
        statement = diff._statement(diff._PAGE, COLUMNS).text
        plan = "\n".join(connection.execute(sa.text(f"EXPLAIN (COSTS OFF) {statement}"), values).scalars())

    assert plan.count("Merge Left Join") == plan.count("Merge Anti Join") == 1, plan
    assert plan.count("Index Scan using user_feature_versions_") == 4, plan
    for job in (published, changed):
        assert plan.count(f"Index Scan using user_feature_versions_{job.id.hex}_pkey") == 2, plan
    assert [line for line in plan.splitlines() if "Sort Key" in line and "of_old" not in line] == []


# --- problems


def test_the_diff_of_an_unknown_job_is_a_404(client: FlaskClient) -> None:
    for job_id in (uuid6.uuid7(), "x", "%00"):
        problem(client.get(f"/api/v1/jobs/{job_id}/diff"), 404, "unknown_job")


def test_a_job_without_a_version_has_no_diff(client: FlaskClient, in_process: InProcess, published: Job) -> None:
    """Not run yet, unchanged, or dropped; on either side."""
    newest = in_process.run(force=True)
    versions.drop_old(in_process.engine, keep=1)

    for job in (in_process.submit(), in_process.run(), published):
        problem(client.get(f"/api/v1/jobs/{job.id}/diff"), 404, "unknown_version")
        problem(client.get(f"/api/v1/jobs/{newest.id}/diff?against={job.id}"), 404, "unknown_version")
    for text in (uuid6.uuid7(), "x", ""):
        problem(client.get(f"/api/v1/jobs/{newest.id}/diff?against={text}"), 404, "unknown_version")


def test_where_nothing_is_published_the_other_version_must_be_named(client: FlaskClient, in_process: InProcess) -> None:
    dry_run = in_process.run(mode="dry_run")

    problem(client.get(f"/api/v1/jobs/{dry_run.id}/diff"), 404, "not_published")
    assert _diff(client, dry_run, against=dry_run.id)["items"] == []


def test_versions_of_two_datasets_are_not_compared(client: FlaskClient, in_process: InProcess, published: Job) -> None:
    shutil.copytree(SAMPLE, in_process.settings.data_dir / "second")
    other = in_process.run(dataset="second")

    body = problem(client.get(f"/api/v1/jobs/{other.id}/diff?against={published.id}"), 422, "invalid_parameter")

    assert (body["parameter"], body["detail"]) == ("against", "against: a job of the same dataset")


def test_a_version_that_is_about_to_go_is_compared_whole_or_not_at_all(
    client: FlaskClient, in_process: InProcess, published: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not look as if all of its users had been removed: its partition goes after it was found to be kept."""
    newest = in_process.run(force=True)
    columns, partition = api.versions.columns, f'"user_feature_versions_{published.id.hex}"'

    def go(connection: sa.Connection) -> list[str]:
        in_process.execute(f"ALTER TABLE user_feature_versions DETACH PARTITION {partition}")
        return columns(connection)

    monkeypatch.setattr(api.versions, "columns", go)

    problem(client.get(f"/api/v1/jobs/{newest.id}/diff?against={published.id}"), 404, "unknown_version")


def test_a_cursor_that_is_none_is_refused(client: FlaskClient, published: Job) -> None:
    def cursor(*parts: object) -> str:
        return urlsafe_b64encode("|".join(map(str, parts)).encode()).decode().rstrip("=")

    for text in ("", "x", "%00", "%ff", "AA", cursor(published.id), cursor(published.id, "x"), cursor(1, 2, 3)):
        response = client.get(f"/api/v1/jobs/{published.id}/diff?cursor={text}")
        assert problem(response, 422, "invalid_parameter")["parameter"] == "cursor"
    for beyond in ("9" * 19, "-" + "9" * 19):
        assert _diff(client, published, cursor=cursor(published.id, beyond))["items"] == []


def test_an_unknown_parameter_or_a_limit_that_is_none_is_refused(client: FlaskClient, published: Job) -> None:
    path = f"/api/v1/jobs/{published.id}/diff"

    assert problem(client.get(f"{path}?agianst=x"), 422, "invalid_parameter")["parameter"] == "agianst"
    assert problem(client.get(f"{path}?limit=0"), 422, "invalid_parameter")["parameter"] == "limit"
