"""GET /api/v1/statistics"""

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask.testing import FlaskClient

from tests.api.conftest import problem
from tests.conftest import InProcess
from worker import versions

PATH = "/api/v1/statistics"


def test_the_statistics_are_those_of_the_rows(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.run()
    users = in_process.query("SELECT * FROM user_features")

    found = client.get(PATH).get_json()

    assert (found["dataset"], found["job_id"]) == ("default", str(job.id))
    counts = [user["total_experiments"] for user in users]
    assert found["experiments_per_user"] == [
        {"from": n, "to": n, "users": counts.count(n)} for n in range(max(counts) + 1)
    ]
    compounds = [user["most_common_compound_id"] for user in users if user["total_experiments"]]
    assert [(item["compound_id"], item["users"]) for item in found["top_compounds"]] == sorted(
        {(id_, compounds.count(id_)) for id_ in compounds}, key=lambda item: (-item[1], item[0])
    )
    for month in found["signup_months"]:
        of_month = [user for user in users if user["signup_date"].isoformat().startswith(month["month"])]
        done = sum(user["total_experiments"] for user in of_month)
        total = sum(user["total_experiments"] * (user["average_run_time"] or 0) for user in of_month)
        assert (month["users"], month["experiments"]) == (len(of_month), done)
        assert month["average_run_time"] == (pytest.approx(total / done) if done else None)
    assert sum(month["users"] for month in found["signup_months"]) == 14


def test_run_times_may_be_as_long_as_numbers_are(client: FlaskClient, in_process: InProcess) -> None:
    (in_process.settings.data_dir / "user_experiments.csv").write_text(
        "experiment_id,user_id,experiment_compound_ids,experiment_run_time\n1,1,1,1e308\n2,1,1,1.5e308\n3,2,1,1e308\n"
    )
    (in_process.settings.data_dir / "users.csv").write_text(
        "user_id,name,email,signup_date\n1,a,a,2024-01-01\n2,b,b,2024-01-31\n"
    )
    in_process.run()

    [month] = client.get(PATH).get_json()["signup_months"]

    assert month["average_run_time"] == pytest.approx((1 / 3 + 1.5 / 3 + 1 / 3) * 1e308)


def test_there_are_at_most_forty_bins(client: FlaskClient, in_process: InProcess) -> None:
    with (in_process.settings.data_dir / "user_experiments.csv").open("a") as file:
        file.writelines(f"\n{100 + n},1,1,1" for n in range(200))
    in_process.run()

    bins = client.get(PATH).get_json()["experiments_per_user"]

    assert len(bins) <= 40
    assert [item["from"] for item in bins[1:]] == [item["to"] + 1 for item in bins[:-1]]
    assert sum(item["users"] for item in bins) == 14


def test_the_versions_are_those_that_were_published_oldest_first(client: FlaskClient, in_process: InProcess) -> None:
    first = in_process.run()
    in_process.run(mode="dry_run")
    second = in_process.run(force=True)

    found = client.get(f"{PATH}?job={first.id}").get_json()

    assert [item["job_id"] for item in found["versions"]] == [str(first.id), str(second.id)]
    assert found["versions"][0]["average_experiments_per_user"] == pytest.approx(37 / 14)


def test_they_are_counted_once_and_go_with_their_version(client: FlaskClient, in_process: InProcess) -> None:
    in_process.run()
    app = client.application
    with ThreadPoolExecutor(4) as askers:
        answers = list(askers.map(lambda _: app.test_client().get(PATH).get_json(), range(4)))
    assert answers == [answers[0]] * 4
    [kept] = in_process.query("SELECT * FROM version_statistics")

    in_process.execute("UPDATE version_statistics SET content = :content", content='{"top_compounds": []}')
    assert client.get(PATH).get_json()["top_compounds"] == []

    newer = in_process.run(force=True)
    versions.drop_old(in_process.engine, keep=1)
    assert client.get(PATH).get_json()["job_id"] == str(newer.id)
    assert [row["job_id"] for row in in_process.query("SELECT job_id FROM version_statistics")] == [newer.id]
    problem(client.get(f"{PATH}?job={kept['job_id']}"), 404, "unknown_version")


def test_what_is_not_published_has_none(client: FlaskClient) -> None:
    problem(client.get(PATH), 404, "not_published")
