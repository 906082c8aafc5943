"""What is published of a dataset: show it, release a held version, roll back to an older one."""

from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from flask import Blueprint, Response, jsonify, request
from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict

from api import answers, parameters, problems, versions
from api.operations import Answer, Header, operation
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


def _dataset(name: str) -> str:
    """What cannot be a dataset's name is none; Postgres need not see it, and could not if there were a NUL in it."""
    if not DATASET_NAME.fullmatch(name):
        raise UnknownDataset
    return name


def _job_id(value: Any) -> UUID:
    try:
        return parameters.job_id(str(value))
    except UnknownJob as error:
        raise ValueError(value) from error


KnownName = Annotated[str, BeforeValidator(_dataset), Field(description="a dataset's name", examples=["default"])]


class PublicationRequest(TypedDict):
    job_id: Annotated[
        UUID,
        BeforeValidator(_job_id),
        Field(description="the id of a job whose version is kept", examples=[parameters.EXAMPLE_JOB]),
    ]


_Condition = TypedDict(
    "_Condition",
    {"If-Match": Annotated[str, Field(description="the tag of what must still be published, or *")]},
    total=False,
)

_TAG = Header("ETag", {"type": "string"}, "the published job, for If-Match")


@bp.get("/<name>/publication")
@operation(
    Answer(answers.Publication, headers=(_TAG,)),
    problems={HTTPStatus.NOT_FOUND: ("unknown_dataset", "not_published")},
)
def show(name: KnownName) -> Response:
    """The published version and all that are kept."""
    with services().engine.connect() as connection:
        publication = publications.get(connection, name)
    return _answer(publication)


@bp.put("/<name>/publication")
@operation(
    Answer(answers.Publication, headers=(_TAG,)),
    problems={
        HTTPStatus.NOT_FOUND: ("unknown_dataset",),
        HTTPStatus.CONFLICT: ("not_publishable",),
        HTTPStatus.PRECONDITION_FAILED: ("precondition_failed",),
    },
)
def publish(name: KnownName, headers: _Condition, body: PublicationRequest) -> Response:  # noqa: ARG001 - werkzeug reads If-Match
    """Make a kept version the published one; with If-Match only where nobody else did meanwhile."""
    with services().engine.begin() as connection:
        _refuse_other_than_matched(publications.lock(connection, name))
        publications.publish(connection, name, body["job_id"])
        publication = publications.get(connection, name)
    return _answer(publication)


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
