"""What a request may hold: the types of its fields, bodies, and cursors, with errors that say what is allowed.

A type checks a field, describes it in /openapi.json, and its description is what the error says.
"""

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from flask import request
from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, StringConstraints
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict
from werkzeug.exceptions import BadRequest

from api.problems import Problem
from worker.jobs import UnknownJob
from worker.settings import DATASET_NAME

LIMIT_DEFAULT, LIMIT_MAX = 100, 1000

# The jobs of the examples: one that is published, and one that waits.
EXAMPLE_JOB, EXAMPLE_WAITING = "01a20449-f952-713d-883d-a11aba2a7acc", "01a2044a-0c3e-7f52-9d0b-6a1f52c0b7e4"

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def json_body() -> dict[str, Any]:
    """Return the request's JSON object; an empty body is an empty object."""
    if not request.get_data(cache=True):
        return {}
    if request.mimetype != "application/json":
        raise not_json()
    try:
        body = request.get_json()
    except RecursionError:
        body = None
    except BadRequest as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "invalid_json", "the body is not valid JSON") from error
    if not isinstance(body, dict):
        raise Problem(HTTPStatus.BAD_REQUEST, "not_an_object", "the body must be one JSON object")
    return body


def not_json() -> Problem:
    detail = "send the body as JSON, with Content-Type: application/json"
    return Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_json", detail)


def query() -> dict[str, str]:
    """Return the query parameters. A repeated one is refused rather than ignored."""
    for name in request.args:
        if len(request.args.getlist(name)) > 1:
            raise invalid(name, "give it once")
    return request.args.to_dict()


def refuse_unknown(names: Collection[str], allowed: Collection[str]) -> None:
    for name in names:
        if name not in allowed:
            raise invalid(name, f"there is no such parameter; allowed are {', '.join(sorted(allowed)) or 'none'}")


def job_id(text: str) -> UUID:
    """Parse a job's id; what is no id at all names no job either."""
    if not _UUID.fullmatch(text):
        raise UnknownJob
    return UUID(text)


def pack_cursor(*parts: object) -> str:
    return urlsafe_b64encode("|".join(map(str, parts)).encode()).decode().rstrip("=")


def unpack_cursor(text: str) -> list[str]:
    try:
        unpacked = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError) as error:
        raise invalid_cursor() from error
    if "\0" in unpacked:
        raise invalid_cursor()
    return unpacked.split("|")


def invalid_cursor() -> Problem:
    return invalid("cursor", "a next_cursor of an earlier answer")


def invalid(name: str, allowed: str) -> Problem:
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_parameter", f"{name}: {allowed}", parameter=name)


# --- types of fields. They are checked strictly, so what a query has as text is read first, where it is one.


def _read(pattern: str, parse: Callable[[str], Any]) -> BeforeValidator:
    """Read text of this pattern only: Python itself also takes `1_000`, blanks, and digits of any script."""

    def read(value: Any) -> Any:
        return parse(value) if isinstance(value, str) and re.fullmatch(pattern, value) else value

    return BeforeValidator(read)


WHOLE_NUMBER = _read("-?[0-9]{1,19}", int)
NUMBER = _read(r"-?[0-9]{1,19}(\.[0-9]{1,400})?([eE][-+]?[0-9]{1,3})?", float)


@dataclass(frozen=True)
class OneOf:
    """The type of a text that is one of those listed."""

    allowed: tuple[str, ...]

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> CoreSchema:
        return core_schema.literal_schema(list(self.allowed))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.allowed), "description": f"one of {', '.join(self.allowed)}"}


# A type that reads text has its bounds before that, or they would not get into the description.
# Postgres has no text with a NUL.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$"), Field(description="text without a NUL character")]
DatasetName = Annotated[
    str,
    StringConstraints(pattern=f"^{DATASET_NAME.pattern}$"),
    Field(description="a dataset's name: 1 to 63 of a-z, 0-9, _ and -, first a letter or a digit"),
]
# What is no id names no job, and that is a 404: so any text is taken.
JobName = Annotated[
    str, StringConstraints(pattern=r"^[^\x00]*$"), Field(description="a job's id", json_schema_extra={"format": "uuid"})
]
JobId = Annotated[UUID, BeforeValidator(job_id), Field(description="a job's id", examples=[EXAMPLE_JOB])]
UserId = Annotated[
    int, Field(ge=-(1 << 63), lt=1 << 63, description="a 64-bit whole number", examples=[3]), WHOLE_NUMBER
]
Flag = Annotated[bool, Field(description="true or false"), _read("true|false", lambda text: text == "true")]
Limit = Annotated[
    int,
    Field(
        ge=1,
        le=LIMIT_MAX,
        description=f"a whole number from 1 to {LIMIT_MAX}",
        json_schema_extra={"default": LIMIT_DEFAULT},
    ),
    WHOLE_NUMBER,
]
Cursor = Annotated[str, Field(description="a next_cursor of an earlier answer")]


class Page(TypedDict, total=False):
    """Of a list, the page after that which gave the cursor."""

    limit: Limit
    cursor: Cursor
