"""Datasets: list."""

import sqlalchemy as sa
from flask import Blueprint, Response, jsonify

from api import parameters
from api.services import services

bp = Blueprint("datasets", __name__, url_prefix="/api/v1/datasets")


@bp.get("")
def published() -> Response:
    """The datasets that a job was ever asked for, by name, and what is published of each."""
    values = parameters.query("limit", "cursor")
    limit = parameters.limit(values)
    after = parameters.unpack_cursor(values["cursor"])[0] if "cursor" in values else ""
    with services().engine.connect() as connection:
        found = connection.execute(
            sa.text(
                "SELECT d.name, d.published_job_id, v.computed_at AS published_at FROM datasets AS d"
                " LEFT JOIN dataset_versions AS v ON v.job_id = d.published_job_id"
                " WHERE d.name > :after ORDER BY d.name LIMIT :limit"
            ),
            {"after": after, "limit": limit + 1},
        )
        rows = [dict(row) for row in found.mappings()]
    next_cursor = parameters.pack_cursor(rows[limit - 1]["name"]) if len(rows) > limit else None
    return jsonify(items=rows[:limit], next_cursor=next_cursor)
