"""GET /api/v1/summary"""

import pytest
from flask.testing import FlaskClient

from tests.api.conftest import problem
from tests.conftest import InProcess

PATH = "/api/v1/summary"


def test_the_summary_is_the_row_of_the_view_with_its_columns_in_its_order(
    client: FlaskClient, in_process: InProcess
) -> None:
    job = in_process.run()
    [row] = in_process.query("SELECT * FROM experiment_summary")

    response = client.get(PATH)

    summary = response.get_json()
    assert (response.status_code, response.mimetype) == (200, "application/json")
    assert list(summary) == list(row)
    assert summary == row | {"job_id": str(job.id), "computed_at": row["computed_at"].isoformat()}


def test_the_summary_answers_what_was_asked(client: FlaskClient, in_process: InProcess) -> None:
    """Counted in data/: 14 users, 37 experiments, none of them by Grace and Mei, 86 compounds used in them."""
    in_process.run()

    summary = client.get(PATH).get_json()

    assert (summary["total_users"], summary["active_users"], summary["total_experiments"]) == (14, 12, 37)
    assert summary["average_experiments_per_user"] == pytest.approx(37 / 14)
    assert summary["average_experiments_per_active_user"] == pytest.approx(37 / 12)
    assert summary["average_compounds_per_experiment"] == pytest.approx(86 / 37)


def test_the_summary_is_that_of_the_published_version(client: FlaskClient, in_process: InProcess) -> None:
    published = in_process.run()
    in_process.run(mode="dry_run", force=True)

    assert client.get(PATH).get_json()["job_id"] == str(published.id)

    newer = in_process.run(force=True)
    assert client.get(PATH).get_json()["job_id"] == str(newer.id)


def test_what_is_not_published_is_a_404(client: FlaskClient, in_process: InProcess) -> None:
    in_process.submit()

    for query in ("", "?dataset=absent", "?dataset="):
        problem(client.get(PATH + query), 404, "not_published")


def test_a_dataset_with_a_nul_in_its_name_is_refused_or_not_found(client: FlaskClient) -> None:
    """No text of Postgres has one, so the driver must not come to see it."""
    assert client.get(f"{PATH}?dataset=a%00b").status_code == 422


def test_an_unknown_parameter_is_refused(client: FlaskClient) -> None:
    body = problem(client.get(f"{PATH}?job=x"), 422, "invalid_parameter")

    assert body["detail"] == "job: there is no such parameter; allowed are dataset"
