"""What the service logged about a job."""

from http import HTTPStatus

from flask import Blueprint, Response, jsonify

from api import answers
from api.operations import Answer, operation
from api.parameters import JobId
from api.services import services
from worker import job_log, jobs

bp = Blueprint("job_log", __name__, url_prefix="/api/v1/jobs")


@bp.get("/<job_id>/log")
@operation(Answer(answers.JobLog), problems={HTTPStatus.NOT_FOUND: ("unknown_job",)})
def lines(job_id: JobId) -> Response:
    """What was logged about a job, oldest first: a few hundred lines at most, and none once they were dropped."""
    with services().engine.connect() as connection:
        job = jobs.get(connection, job_id)
        found = job_log.lines(connection, job.id)
    return jsonify(items=found, next_cursor=None)
