"""The views are quick however many versions are kept, and a new program brings its own to an old database."""

import json
import shutil
from typing import Any

import pytest
import sqlalchemy as sa

from tests.conftest import SAMPLE, InProcess
from worker import migrations
from worker.jobs import Job

USERS = 20_000


def _publish_many_users(in_process: InProcess) -> list[Job]:
    """Three versions of `default` with more users than the sample, of which the last is published."""
    published = [in_process.run(force=True) for _ in range(3)]
    for job in published:
        in_process.execute(
            "INSERT INTO user_feature_versions (job_id, user_id, name, email, signup_date, total_experiments)"
            " SELECT :id, n, 'n', 'e', '2024-01-01', 0 FROM generate_series(1000, :users) AS n",
            id=job.id,
            users=USERS,
        )
    return published


def _read(plan: dict[str, Any]) -> list[str]:
    """The tables of versions that a query has read."""
    found = [name for part in plan.get("Plans", ()) for name in _read(part)]
    name = plan.get("Relation Name", "")
    if name.startswith("user_feature_versions_") and plan["Actual Loops"]:
        found.append(name)
    return found


@pytest.mark.parametrize(
    ("condition", "datasets"),
    [
        ("dataset = 'small'", {"small"}),
        ("dataset = 'default'", {"default"}),
        ("dataset = 'small' AND user_id = 3", {"small"}),
        ("user_id = 3", {"small", "default"}),
        ("true", {"small", "default"}),
    ],
)
def test_a_query_reads_the_published_versions_and_no_other(
    condition: str, datasets: set[str], in_process: InProcess
) -> None:
    shutil.copytree(SAMPLE, in_process.settings.data_dir / "small")
    of = {"small": in_process.run(dataset="small"), "default": _publish_many_users(in_process)[-1]}
    with in_process.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))

    [explained] = in_process.query(
        f"EXPLAIN (ANALYZE, FORMAT JSON) SELECT max(total_experiments) FROM user_features WHERE {condition}"  # noqa: S608
    )

    [plan] = explained["QUERY PLAN"]
    assert sorted(_read(plan["Plan"])) == sorted(f"user_feature_versions_{of[name].id.hex}" for name in datasets)


def test_one_user_is_looked_up_in_the_index(in_process: InProcess) -> None:
    _publish_many_users(in_process)
    with in_process.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))

    [explained] = in_process.query("EXPLAIN (FORMAT JSON) SELECT * FROM user_features WHERE user_id = 3")

    plan = json.dumps(explained["QUERY PLAN"])
    assert "Index Scan" in plan
    assert '"Seq Scan", "Parent Relationship": "Member"' not in plan


def test_the_views_of_an_older_program_are_replaced_and_those_that_people_made_of_them_stay(
    in_process: InProcess,
) -> None:
    in_process.run()
    before = in_process.query("SELECT * FROM user_features ORDER BY user_id")
    definition = in_process.query("SELECT pg_get_viewdef('user_features') AS text")
    columns = ", ".join(before[0])
    in_process.execute(f"CREATE OR REPLACE VIEW user_features AS SELECT {columns} FROM ({_OLD}) AS old")  # noqa: S608
    in_process.execute("COMMENT ON VIEW user_features IS NULL")
    in_process.execute("CREATE VIEW mine AS SELECT count(*) AS users FROM user_features")

    migrations.upgrade(in_process.engine)

    assert in_process.query("SELECT pg_get_viewdef('user_features') AS text") == definition
    assert in_process.query("SELECT * FROM user_features ORDER BY user_id") == before
    assert in_process.query("SELECT users FROM mine") == [{"users": len(before)}]


_OLD = """
    SELECT version.dataset, row.*, version.computed_at
    FROM datasets JOIN dataset_versions AS version ON version.job_id = datasets.published_job_id
        JOIN user_feature_versions AS row ON row.job_id = datasets.published_job_id
"""
