"""GET and PUT /api/v1/datasets/{name}/publication"""

import shutil
from typing import Any
from uuid import UUID

import pytest
import uuid6
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.api.conftest import ClientWith, problem
from tests.conftest import SAMPLE, InProcess
from worker import versions
from worker.jobs import Job

PATH = "/api/v1/datasets/default/publication"
READ = "SELECT count(*) AS count FROM user_features"


def _put(client: FlaskClient, job_id: object, if_match: str | None = None) -> TestResponse:
    headers = {"If-Match": if_match} if if_match is not None else {}
    return client.put(PATH, json={"job_id": str(job_id)}, headers=headers)


@pytest.fixture
def published(in_process: InProcess) -> Job:
    return in_process.run()


@pytest.fixture
def held(in_process: InProcess, published: Job) -> Job:
    """A version with 5 of the 14 users that are published."""
    in_process.lose_users(left=5)
    job = in_process.run(max_rejected_ratio=1.0)
    assert (job.outcome, in_process.published()) == ("held", published.id)
    return job


# --- show


def test_the_publication_lists_the_kept_versions_newest_first(
    client: FlaskClient, in_process: InProcess, held: Job, published: Job
) -> None:
    dry_run = in_process.run(mode="dry_run", max_rejected_ratio=1.0)
    rows = in_process.query("SELECT job_id, computed_at FROM dataset_versions")
    computed_at = {row["job_id"]: row["computed_at"].isoformat() for row in rows}

    def version(job: Job, *, published: bool) -> dict[str, Any]:
        return {
            "job_id": str(job.id),
            "computed_at": computed_at[job.id],
            "outcome": job.outcome,
            "published": published,
        }

    response = client.get(PATH)

    assert response.status_code == 200
    assert response.get_json() == {
        "dataset": "default",
        "job_id": str(published.id),
        "computed_at": computed_at[published.id],
        "versions": [
            version(dry_run, published=False),
            version(held, published=False),
            version(published, published=True),
        ],
    }


def test_the_tag_of_a_publication_is_the_published_job(client: FlaskClient, published: Job) -> None:
    assert client.get(PATH).headers["ETag"] == f'"{published.id}"'


def test_a_publication_is_shown_again_although_its_tag_did_not_change(
    client: FlaskClient, in_process: InProcess, published: Job
) -> None:
    """The list of versions did."""
    dry_run = in_process.run(mode="dry_run")

    response = client.get(PATH, headers={"If-None-Match": f'"{published.id}"'})

    assert response.status_code == 200
    assert response.get_json()["versions"][0]["job_id"] == str(dry_run.id)


def test_each_dataset_has_its_own_publication(client: FlaskClient, in_process: InProcess, published: Job) -> None:
    shutil.copytree(SAMPLE, in_process.settings.data_dir / "second")
    second = in_process.run(dataset="second")

    shown = client.get("/api/v1/datasets/second/publication").get_json()

    assert (shown["dataset"], shown["job_id"]) == ("second", str(second.id))
    assert [version["job_id"] for version in shown["versions"]] == [str(second.id)]
    assert client.get(PATH).get_json()["job_id"] == str(published.id)


def test_a_version_that_is_about_to_go_is_neither_listed_nor_read(
    client: FlaskClient, in_process: InProcess, published: Job
) -> None:
    newest = in_process.run(force=True)
    in_process.execute("UPDATE dataset_versions SET dropping_at = now() WHERE job_id = :id", id=published.id)

    assert [version["job_id"] for version in client.get(PATH).get_json()["versions"]] == [str(newest.id)]
    problem(client.get(f"/api/v1/features?job={published.id}"), 404, "unknown_version")


def test_a_dataset_that_nobody_asked_for_is_a_404(client: FlaskClient, in_process: InProcess) -> None:
    in_process.submit()
    for name in ("absent", "..", "A", "a%00b", "%C3%A4"):
        path = f"/api/v1/datasets/{name}/publication"
        problem(client.get(path), 404, "unknown_dataset")
        problem(client.put(path, json={"job_id": str(uuid6.uuid7())}), 404, "unknown_dataset")


def test_a_dataset_without_a_publication_is_a_404_that_says_so(client: FlaskClient, in_process: InProcess) -> None:
    """A dry run is none."""
    in_process.run(mode="dry_run")

    problem(client.get(PATH), 404, "not_published")


# --- release and roll back


def test_a_held_version_is_released(client: FlaskClient, in_process: InProcess, held: Job) -> None:
    assert in_process.query(READ) == [{"count": 14}]

    response = _put(client, held.id)

    assert response.status_code == 200
    assert response.headers["ETag"] == f'"{held.id}"'
    assert response.get_json() == client.get(PATH).get_json()
    assert response.get_json()["job_id"] == str(held.id)
    assert in_process.query(READ) == [{"count": 5}]
    assert {row["job_id"] for row in client.get("/api/v1/features").get_json()["items"]} == {str(held.id)}
    assert client.get("/api/v1/summary").get_json()["job_id"] == str(held.id)


def test_the_job_of_a_released_version_stays_as_it_ended(client: FlaskClient, in_process: InProcess, held: Job) -> None:
    _put(client, held.id)

    assert in_process.job(held) == held


def test_a_job_on_the_files_of_a_released_version_ends_unchanged(
    client: FlaskClient, in_process: InProcess, held: Job
) -> None:
    _put(client, held.id)

    assert in_process.run(max_rejected_ratio=1.0).outcome == "unchanged"


def test_an_older_version_is_published_again(client: FlaskClient, in_process: InProcess, published: Job) -> None:
    newer = in_process.run(force=True)

    response = _put(client, published.id)

    assert response.status_code == 200
    assert [(version["job_id"], version["published"]) for version in response.get_json()["versions"]] == [
        (str(newer.id), False),
        (str(published.id), True),
    ]
    assert in_process.query("SELECT DISTINCT job_id FROM user_features") == [{"job_id": published.id}]


def test_a_version_is_published_also_where_nothing_is(
    client: FlaskClient, in_process: InProcess, published: Job
) -> None:
    in_process.execute("UPDATE datasets SET published_job_id = NULL")

    assert _put(client, published.id).status_code == 200
    assert in_process.published() == published.id


def test_publishing_what_is_published_changes_nothing(
    client: FlaskClient, in_process: InProcess, published: Job
) -> None:
    before = in_process.query("SELECT ctid, * FROM datasets")

    response = _put(client, published.id)

    assert (response.status_code, response.get_json()) == (200, client.get(PATH).get_json())
    assert in_process.query("SELECT ctid, * FROM datasets") == before


def test_a_dry_run_is_not_publishable(client: FlaskClient, in_process: InProcess, published: Job) -> None:
    dry_run = in_process.run(mode="dry_run")

    body = problem(_put(client, dry_run.id), 409, "not_publishable")

    assert body["detail"] == "a dry run is never published; submit a job with the mode publish"
    assert in_process.published() == published.id


def test_a_job_without_a_kept_version_is_not_publishable(
    client: FlaskClient, in_process: InProcess, published: Job
) -> None:
    """Unknown, not run, dropped, about to be dropped, or of another dataset."""
    shutil.copytree(SAMPLE, in_process.settings.data_dir / "second")
    going, newest = in_process.run(force=True), in_process.run(force=True)
    versions.drop_old(in_process.engine, keep=2)
    in_process.execute("UPDATE dataset_versions SET dropping_at = now() WHERE job_id = :id", id=going.id)

    without = [published, going, in_process.submit(), in_process.run(dataset="second")]
    for job_id in (uuid6.uuid7(), *(job.id for job in without)):
        body = problem(_put(client, job_id), 409, "not_publishable")
        assert body["detail"].startswith("no version of this job is kept of this dataset")

    assert in_process.published() == newest.id


def test_what_is_no_jobs_id_is_refused(client: FlaskClient, published: Job) -> None:
    for body in ({}, {"job_id": None}, {"job_id": "x"}, {"job_id": 1}, {"job_id": [str(published.id)]}):
        assert problem(client.put(PATH, json=body), 422, "invalid_parameter")["parameter"] == "job_id"
    assert problem(client.put(PATH), 422, "invalid_parameter")["parameter"] == "job_id"


def test_an_unknown_parameter_is_refused(client: FlaskClient, published: Job) -> None:
    body = {"job_id": str(published.id)}

    assert problem(client.put(PATH, json=body | {"force": True}), 422, "invalid_parameter")["parameter"] == "force"
    assert problem(client.put(f"{PATH}?force=1", json=body), 422, "invalid_parameter")["parameter"] == "force"
    assert problem(client.get(f"{PATH}?limit=1"), 422, "invalid_parameter")["parameter"] == "limit"


# --- If-Match


def test_who_has_seen_the_published_version_may_replace_it(
    client: FlaskClient, in_process: InProcess, held: Job, published: Job
) -> None:
    tag, other = f'"{published.id}"', f'"{uuid6.uuid7()}"'
    for if_match in (tag, "*", f"{other}, {tag}", f'"a,b" ,{tag}'):
        in_process.execute("UPDATE datasets SET published_job_id = :id", id=published.id)

        assert _put(client, held.id, if_match).status_code == 200, if_match
        assert in_process.published() == held.id


def test_who_has_seen_another_version_may_not(
    client: FlaskClient, in_process: InProcess, held: Job, published: Job
) -> None:
    for if_match in (f'"{held.id}"', f'W/"{published.id}"', f'"{held.id}", "x"', '""', "", '"*"'):
        body = problem(_put(client, held.id, if_match), 412, "precondition_failed")
        assert str(published.id) in body["detail"]

    assert in_process.published() == published.id


def test_a_tag_that_was_right_before_somebody_else_published_is_stale(
    client: FlaskClient, in_process: InProcess, published: Job
) -> None:
    stale = client.get(PATH).headers["ETag"]
    newer = in_process.run(force=True)

    problem(_put(client, published.id, stale), 412, "precondition_failed")

    assert in_process.published() == newer.id


def test_any_version_is_none_where_nothing_is_published(
    client: FlaskClient, in_process: InProcess, published: Job
) -> None:
    in_process.execute("UPDATE datasets SET published_job_id = NULL")

    body = problem(_put(client, published.id, "*"), 412, "precondition_failed")

    assert body["detail"].startswith("published is nothing")


def test_a_stale_tag_is_told_before_a_version_that_cannot_be_published(client: FlaskClient, published: Job) -> None:
    problem(_put(client, UUID(int=0), f'"{UUID(int=1)}"'), 412, "precondition_failed")
    problem(_put(client, UUID(int=0), f'"{published.id}"'), 409, "not_publishable")


# --- who may


def test_a_page_of_another_site_publishes_nothing(
    client: FlaskClient, in_process: InProcess, held: Job, published: Job
) -> None:
    headers = {"Origin": "https://evil.example"}

    problem(client.put(PATH, json={"job_id": str(held.id)}, headers=headers), 403, "foreign_origin")

    assert in_process.published() == published.id


def test_without_the_token_nothing_is_published(
    client_with: ClientWith, in_process: InProcess, held: Job, published: Job
) -> None:
    problem(_put(client_with(api_token="t0ken"), held.id), 401, "token_required")

    assert in_process.published() == published.id
