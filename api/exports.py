"""Answers that are files: CSV, Parquet and Excel workbooks, as many rows as there are."""

import hashlib
import json
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Annotated, Any

import sqlalchemy as sa
from flask import Response, jsonify, request
from pydantic import Field
from sqlalchemy.dialects.postgresql import psycopg2
from typing_extensions import TypedDict
from werkzeug.wrappers import Response as BaseResponse

from api import parameters
from api.operations import Answer, Header
from api.parameters import OneOf
from api.problems import Problem
from api.services import services
from worker import exports
from worker.exports import MEDIA_TYPES, Broken, Busy, Export, Table

_JSON = "application/json"

_TAG = Header("ETag", {"type": "string"}, "of the rows that a file holds, for If-None-Match", required=False)
_NAME = Header("Content-Disposition", {"type": "string"}, "the name of a file", required=False)
_VARY = Header("Vary", {"type": "string"}, "Accept: the format may depend on it")
_VARIES = {"Vary": "Accept"}

PROBLEMS = {HTTPStatus.SERVICE_UNAVAILABLE: ("export_unavailable",)}

Known = TypedDict(
    "Known", {"If-None-Match": Annotated[str, Field(description="the tag of the file that is known")]}, total=False
)


class Formatted(TypedDict, total=False):
    """What may be a file; without `format` the header Accept says so."""

    format: Annotated[str, OneOf(("json", *MEDIA_TYPES))]


def answers(shape: type) -> tuple[Answer, Answer]:
    """Return what a view answers that has rows as JSON or as a file."""
    return (
        Answer(shape, headers=(_TAG, _NAME, _VARY), media_types=tuple(MEDIA_TYPES.values())),
        Answer(None, HTTPStatus.NOT_MODIFIED, (_TAG,)),
    )


def wanted(query: Formatted, *, paging: Collection[str]) -> str | None:
    """Return the format of the file that is asked for, None for JSON. Raises Problem for a part of a file."""
    format_ = query.get("format") or _accepted()
    if format_ == "json":
        return None
    for name in paging:
        if name in query:
            raise parameters.invalid(name, "a file holds all rows in one order: there are no pages")
    return format_


def _accepted() -> str:
    """Return the format that the client likes best; who takes anything gets JSON."""
    formats = {_JSON: "json"} | {media_type: format_ for format_, media_type in MEDIA_TYPES.items()}
    return formats[request.accept_mimetypes.best_match(formats, default=_JSON)]


def table(page: str, intact: str, values: Mapping[str, Any]) -> Table:
    """Return the rows to export; the statements have their parameters as everywhere in the API."""
    return Table(_for_psycopg2(page), _for_psycopg2(intact), values)


def _for_psycopg2(statement: str) -> str:
    return str(sa.text(statement).compile(dialect=psycopg2.dialect()))  # type: ignore[no-untyped-call]


def answer(rows: Table, format_: str, name: str, *, is_final: bool = True) -> BaseResponse:
    """Return the rows as a file; where they are final, the client may keep it and ask by its tag. Raises Problem.

    A slow reader holds up a process and no transaction. What ends as it should is complete: where the rows go, or the
    process fails, the answer breaks off.
    """
    headers = {"Content-Disposition": f'attachment; filename="{name}.{format_}"', **_VARIES}
    response = Response(mimetype=MEDIA_TYPES[format_], headers=headers)
    response.automatically_set_content_length = False  # nobody knows it yet
    if is_final:
        asked = json.dumps([format_, rows.page, rows.values], sort_keys=True, default=str)
        response.headers["Cache-Control"] = "private, no-cache"
        response.set_etag(hashlib.sha256(asked.encode()).hexdigest()[:32], weak=True)
    response.make_conditional(request)
    if response.status_code == HTTPStatus.OK:
        response.response = iter(()) if request.method == "HEAD" else _begun(rows, format_)
    return response


def page(**members: Any) -> Response:
    """Return the rows as JSON, which Accept may have asked for."""
    response = jsonify(members)
    response.headers.update(_VARIES)
    return response


def _begun(rows: Table, format_: str) -> Export:
    try:
        return Export(services().settings, rows, format_)
    except Busy as error:
        raise _unavailable(f"{exports.AT_ONCE} others are being written") from error
    except Broken as error:
        raise _unavailable("the file could not be written") from error


def _unavailable(reason: str) -> Problem:
    headers = {"Retry-After": "5"}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "export_unavailable", f"{reason}; try again", headers=headers)
