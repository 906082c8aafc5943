"""Reading a request: bodies, query parameters and cursors, with errors that say what is allowed."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection
from http import HTTPStatus
from typing import Any
from uuid import UUID

from flask import request
from werkzeug.exceptions import BadRequest

from api.problems import Problem
from worker.jobs import UnknownJob


def json_body() -> dict[str, Any]:
    """Return the request's JSON object; an empty body is an empty object."""
    if not request.get_data(cache=True):
        return {}
    if request.mimetype != "application/json":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_json", "send the body as JSON, with Content-Type: application/json"
        )
    try:
        body = request.get_json()
    except RecursionError:
        body = None
    except BadRequest as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "invalid_json", "the body is not valid JSON") from error
    if not isinstance(body, dict):
        raise Problem(HTTPStatus.BAD_REQUEST, "not_an_object", "the body must be one JSON object")
    return body


def refuse_unknown(names: Collection[str], allowed: Collection[str]) -> None:
    for name in names:
        if name not in allowed:
            raise invalid(name, f"there is no such parameter; allowed are {', '.join(sorted(allowed))}")


def query(*allowed: str) -> dict[str, str]:
    """Return the query parameters. An unknown or repeated one is refused rather than ignored."""
    refuse_unknown(request.args.keys(), allowed)
    for name, value in request.args.items():
        if len(request.args.getlist(name)) > 1:
            raise invalid(name, "give it once")
        if "\0" in value:
            raise invalid(name, "text without a NUL character")
    return request.args.to_dict()


def limit(values: dict[str, str], *, default: int = 100, maximum: int = 1000) -> int:
    text = values.get("limit", str(default))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= maximum and len(text) < 9):
        raise invalid("limit", f"a whole number from 1 to {maximum}")
    return int(text)


def one_of(values: dict[str, str], name: str, allowed: Collection[str]) -> str | None:
    value = values.get(name)
    if value is not None and value not in allowed:
        raise invalid(name, f"one of {', '.join(allowed)}")
    return value


def job_id(text: str) -> UUID:
    """Parse a job's id; what is no id at all names no job either."""
    try:
        return UUID(text)
    except ValueError as error:
        raise UnknownJob from error


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
