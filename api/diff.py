"""What differs between two kept versions of a dataset, user by user.

The columns are those of the view, whatever the catalogue has put there.
"""

from http import HTTPStatus
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from flask import Blueprint, Response, jsonify

from api import answers, parameters, versions
from api.operations import Answer, operation
from api.parameters import LIMIT_DEFAULT, JobId, JobName, Page
from api.services import services
from worker import jobs
from worker.jobs import Job

bp = Blueprint("diff", __name__, url_prefix="/api/v1/jobs")

_FIRST_USER, _LAST_USER = -(1 << 63), (1 << 63) - 1

# A merge join of two indexes needs none of these, and the planner, which knows nothing yet of a version that was just
# loaded, must not take it for a small one.
_SIDE_BY_SIDE = "SET LOCAL enable_sort = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_nestloop = off"

# Each in the order of its primary key.
_BOTH = """
    WITH old AS NOT MATERIALIZED (
        SELECT * FROM user_feature_versions WHERE job_id = :old AND user_id >= :first ORDER BY user_id
    ), new AS NOT MATERIALIZED (
        SELECT * FROM user_feature_versions WHERE job_id = :new AND user_id >= :first ORDER BY user_id
    )
"""

# Not a FULL JOIN: Postgres takes its rows for unordered, so it would read and sort everything for each page. The users
# of the old version come first, and only as far as they fill the page, those whom only the new one has.
_PAGE = """
    {both}, of_old AS (
        SELECT user_id, CASE WHEN new.user_id IS NULL THEN 'removed' ELSE 'changed' END, {values}
        FROM old LEFT JOIN new USING (user_id)
        WHERE new.user_id IS NULL OR {differs}
        ORDER BY user_id LIMIT :limit
    ), of_new AS (
        SELECT user_id, 'added', {values}
        FROM new LEFT JOIN old USING (user_id)
        WHERE old.user_id IS NULL
            AND user_id <= (SELECT CASE WHEN count(*) < :limit THEN :last ELSE max(user_id) END FROM of_old)
        ORDER BY user_id LIMIT :limit
    )
    TABLE of_old UNION ALL TABLE of_new ORDER BY user_id LIMIT :limit
"""

_COUNTS = """
    {both} SELECT
        count(*) FILTER (WHERE old.user_id IS NULL) AS added,
        count(*) FILTER (WHERE new.user_id IS NULL) AS removed,
        count(*) FILTER (WHERE old.user_id = new.user_id AND ({differs})) AS changed
    FROM old FULL JOIN new USING (user_id)
"""


class _Query(Page, total=False):
    against: JobName


@bp.get("/<job_id>/diff")
@operation(Answer(answers.Diff), problems={HTTPStatus.NOT_FOUND: ("unknown_job", "unknown_version", "not_published")})
def users(job_id: JobId, query: _Query) -> Response:
    """A page of the users that differ, by id; the pages after it stay with their two versions.

    The first page has the counts. They need both versions as a whole, so the pages after it do without.
    """
    limit = query.get("limit", LIMIT_DEFAULT)
    with services().engine.connect() as connection:
        job = jobs.get(connection, job_id)
        new = versions.kept(connection, str(job_id))
        if "cursor" in query:
            old, after = versions.position(connection, query["cursor"])
        else:
            old, after = _against(connection, query, job), _FIRST_USER - 1
        if jobs.get(connection, old).dataset != job.dataset:
            raise parameters.invalid("against", "a job of the same dataset")
        names = [name for name in versions.columns(connection) if name not in (*versions.ABOUT, "user_id")]
        bounds = {"old": old, "new": new, "first": after + 1, "last": _LAST_USER, "limit": limit + 1}
        connection.execute(sa.text(_SIDE_BY_SIDE))
        counts = None if "cursor" in query else connection.execute(_statement(_COUNTS, names), bounds).mappings().one()
        found = connection.execute(_statement(_PAGE, names), bounds).all()
        versions.refuse_going(connection, old)
        versions.refuse_going(connection, new)
    return jsonify(
        job_id=new,
        against=old,
        counts=dict(counts) if counts else None,
        items=[_item(names, *row) for row in found[:limit]],
        next_cursor=parameters.pack_cursor(old, found[limit - 1].user_id) if len(found) > limit else None,
    )


def _against(connection: sa.Connection, query: _Query, job: Job) -> UUID:
    if "against" in query:
        return versions.kept(connection, query["against"])
    return versions.published(connection, job.dataset)


def _statement(template: str, names: list[str]) -> sa.TextClause:
    values = ", ".join(f'{version}."{name}" AS "{version} {name}"' for version in ("old", "new") for name in names)
    differs = " OR ".join(f'old."{name}" IS DISTINCT FROM new."{name}"' for name in names)
    return sa.text(template.format(both=_BOTH, values=values, differs=differs))


def _item(names: list[str], user_id: int, change: str, *values: Any) -> dict[str, Any]:
    """A user with all columns, or with those that changed."""
    columns = {
        name: {"old": old, "new": new}
        for name, old, new in zip(names, values[: len(names)], values[len(names) :], strict=True)
        if change != "changed" or old != new
    }
    return {"user_id": user_id, "change": change, "columns": columns}
