"""What is published of a dataset: show it, release a held version, roll back to an older one."""

from http import HTTPStatus
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, jsonify, request

from api import parameters, problems, versions
from api.problems import Problem
from api.services import services
from worker import publications
from worker.jobs import UnknownJob
from worker.publications import NotPublishable, Publication, UnknownDataset
from worker.settings import DATASET_NAME

bp = Blueprint("publications", __name__, url_prefix="/api/v1/datasets")


@bp.errorhandler(UnknownDataset)
def _unknown_dataset(_error: UnknownDataset) -> Response:
    return problems.response(
        Problem(HTTPStatus.NOT_FOUND, "unknown_dataset", "no job was ever asked for a dataset of this name")
    )


@bp.errorhandler(NotPublishable)
def _not_publishable(error: NotPublishable) -> Response:
    return problems.response(Problem(HTTPStatus.CONFLICT, "not_publishable", str(error)))


@bp.get("/<name>/publication")
def show(name: str) -> Response:
    parameters.query()
    with services().engine.connect() as connection:
        publication = publications.get(connection, _dataset(name))
    return _answer(publication)


@bp.put("/<name>/publication")
def publish(name: str) -> Response:
    """Make a kept version the published one; with If-Match only where nobody else did meanwhile."""
    parameters.query()
    job_id = _job_id(parameters.json_body())
    with services().engine.begin() as connection:
        _refuse_other_than_matched(publications.lock(connection, _dataset(name)))
        publications.publish(connection, name, job_id)
        publication = publications.get(connection, name)
    return _answer(publication)


def _dataset(name: str) -> str:
    """What cannot be a dataset's name is none; Postgres need not see it, and could not if there were a NUL in it."""
    if not DATASET_NAME.fullmatch(name):
        raise UnknownDataset
    return name


def _job_id(body: dict[str, Any]) -> UUID:
    parameters.refuse_unknown(body, ["job_id"])
    try:
        return parameters.job_id(str(body.get("job_id")))
    except UnknownJob as error:
        raise parameters.invalid("job_id", "the id of a job whose version is kept") from error


def _refuse_other_than_matched(published: UUID | None) -> None:
    """RFC 9110, 13.1.1: `*` stands for anything that is published, and no weak tag matches."""
    if "If-Match" in request.headers and not (published and request.if_match.contains(str(published))):
        raise Problem(
            HTTPStatus.PRECONDITION_FAILED,
            "precondition_failed",
            f"published is {published or 'nothing'}, which If-Match does not name; nothing was changed",
        )


def _answer(publication: Publication) -> Response:
    published = publication.published
    if not published:
        raise versions.not_published(publication.dataset)
    response = jsonify(
        dataset=publication.dataset,
        job_id=published.job_id,
        computed_at=published.computed_at,
        versions=publication.versions,
    )
    # The tag is the pointer, which is what PUT moves. The list may change under it, so nobody is answered 304.
    response.set_etag(str(published.job_id))
    return response
