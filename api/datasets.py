"""Datasets: list."""

import sqlalchemy as sa
from flask import Blueprint, Response, jsonify

from api import answers, parameters
from api.operations import Answer, operation
from api.parameters import LIMIT_DEFAULT, Page
from api.services import services
from worker import inventory

bp = Blueprint("datasets", __name__, url_prefix="/api/v1/datasets")


@bp.get("")
@operation(Answer(answers.Datasets))
def published(query: Page) -> Response:
    """The datasets that have files or that a job was ever asked for, by name, and what is published of each."""
    settings = services().settings
    limit = query.get("limit", LIMIT_DEFAULT)
    after = parameters.unpack_cursor(query["cursor"])[0] if "cursor" in query else ""
    with services().engine.connect() as connection:
        found = connection.execute(
            sa.text(
                "SELECT name, d.published_job_id, v.computed_at AS published_at"
                " FROM (SELECT unnest(CAST(:with_files AS text[])) AS name UNION SELECT name FROM datasets) AS known"
                " LEFT JOIN datasets AS d USING (name)"
                " LEFT JOIN dataset_versions AS v ON v.job_id = d.published_job_id"
                " WHERE name > :after ORDER BY name LIMIT :limit"
            ),
            {"with_files": list(settings.datasets()), "after": after, "limit": limit + 1},
        )
        rows = [dict(row) for row in found.mappings()]
    next_cursor = parameters.pack_cursor(rows[limit - 1]["name"]) if len(rows) > limit else None
    items = [
        row | {"files": inventory.files(settings, row["name"]), "is_mounted": settings.is_mounted(row["name"])}
        for row in rows[:limit]
    ]
    return jsonify(items=items, next_cursor=next_cursor)
