"""What charts show of a version: counted at the first asking, and kept as long as the version is."""

import json
from fractions import Fraction
from threading import Lock
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from flask import Blueprint, Response, jsonify

from api import answers, features, versions
from api.features import VersionQuery
from api.operations import Answer, operation
from api.services import services

bp = Blueprint("statistics", __name__, url_prefix="/api/v1")

_BINS_MAX, _COMPOUNDS = 40, 20
_counting = Lock()

# One look at each row, for all of them.
_COUNTED = """
    WITH counted AS MATERIALIZED (
        SELECT grouping(total_experiments, signup_date, most_common_compound_id) AS left_out,
            total_experiments, signup_date, most_common_compound_id AS compound_id,
            min(most_common_compound_name) AS compound_name, count(*) AS users, sum(total_experiments) AS experiments,
            sum(CASE WHEN average_run_time < 1e280 THEN average_run_time * total_experiments END) AS run_time,
            -- Numeric, which knows no largest number, is slow.
            sum(CASE WHEN average_run_time >= 1e280 THEN average_run_time::numeric * total_experiments END) AS huge
        FROM user_feature_versions WHERE job_id = :job_id
        GROUP BY GROUPING SETS ((total_experiments), (signup_date), (most_common_compound_id))
    )
    SELECT * FROM counted WHERE left_out <> :by_compound
    UNION ALL (
        SELECT * FROM counted WHERE left_out = :by_compound AND compound_id IS NOT NULL
        ORDER BY users DESC, compound_id LIMIT :compounds
    )
"""
_BY_EXPERIMENTS, _BY_DAY, _BY_COMPOUND = 0b011, 0b101, 0b110

_VERSIONS = """
    SELECT job_id, computed_at, average_experiments_per_user
    FROM dataset_versions JOIN datasets ON name = dataset
    WHERE dataset = :dataset AND dropping_at IS NULL AND (outcome = 'published' OR job_id = published_job_id)
    ORDER BY computed_at, job_id
"""


@bp.get("/statistics")
@operation(Answer(answers.Statistics), problems=features.NO_VERSION)
def statistics(query: VersionQuery) -> Response:
    """What charts show: users by experiments, by most common compound and by month; and the published versions."""
    with services().engine.connect() as connection:
        job_id = features.version(connection, query)
        content = _kept(connection, job_id)
        dataset = versions.dataset(connection, job_id)
        published = [dict(row) for row in connection.execute(sa.text(_VERSIONS), {"dataset": dataset}).mappings()]
    return jsonify({"dataset": dataset, "job_id": job_id, **(content or _counted(job_id)), "versions": published})


def _kept(connection: sa.Connection, job_id: UUID) -> dict[str, Any] | None:
    query = sa.text("SELECT content FROM version_statistics WHERE job_id = :job_id")
    content: dict[str, Any] | None = connection.scalar(query, {"job_id": job_id})
    return content


def _counted(job_id: UUID) -> dict[str, Any]:
    """Count, with no more than one of this process's connections, however many ask."""
    with _counting, services().engine.begin() as connection:
        return _made(connection, job_id)


def _made(connection: sa.Connection, job_id: UUID) -> dict[str, Any]:
    """Count, unless somebody who was at it, also in another process, has done so meanwhile."""
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:job_id, 0))"), {"job_id": str(job_id)})
    if content := _kept(connection, job_id):
        return content
    values = {"job_id": job_id, "by_compound": _BY_COMPOUND, "compounds": _COMPOUNDS}
    rows = connection.execute(sa.text(_COUNTED), values).all()
    versions.refuse_going(connection, job_id)
    content = {
        "experiments_per_user": _bins([row for row in rows if row.left_out == _BY_EXPERIMENTS]),
        "top_compounds": [
            {"compound_id": row.compound_id, "compound_name": row.compound_name, "users": row.users}
            for row in rows
            if row.left_out == _BY_COMPOUND
        ],
        "signup_months": _months([row for row in rows if row.left_out == _BY_DAY]),
    }
    insert = "INSERT INTO version_statistics (job_id, content) VALUES (:job_id, :content)"
    connection.execute(sa.text(insert), {"job_id": job_id, "content": json.dumps(content)})
    return content


def _bins(rows: list[Any]) -> list[dict[str, int]]:
    rows = [row for row in rows if row.total_experiments is not None]  # a version may be older than the column
    most = max((row.total_experiments for row in rows), default=-1)
    width = most // _BINS_MAX + 1
    users = [0] * (most // width + 1)
    for row in rows:
        users[row.total_experiments // width] += row.users
    return [{"from": n * width, "to": (n + 1) * width - 1, "users": count} for n, count in enumerate(users)]


def _months(rows: list[Any]) -> list[dict[str, Any]]:
    months: dict[str, list[Any]] = {}
    for row in rows:
        month = months.setdefault(row.signup_date.isoformat()[:7], [0, 0, Fraction()])
        run_time = Fraction(row.run_time or 0) + Fraction(row.huge or 0)
        for n, value in enumerate((row.users, int(row.experiments or 0), run_time)):
            month[n] += value
    return [
        {
            "month": name,
            "users": users,
            "experiments": done,
            "average_run_time": float(run_time / done) if done else None,
        }
        for name, (users, done, run_time) in sorted(months.items())
    ]
