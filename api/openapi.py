"""/openapi.json: the description of the API, put together from what its views declare."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from apispec import APISpec
from flask import Blueprint, Flask, Response, current_app, json
from pydantic import TypeAdapter
from werkzeug.routing import Rule

from api import answers, examples
from api.operations import NOTHING, Answer, Header, Operation, Shape, described
from api.security import OPEN_ENDPOINTS
from api.services import services

bp = Blueprint("openapi", __name__)

_EXTENSION = "openapi"
_ROOT = Path(__file__).parents[1]
_SCHEMAS = "#/components/schemas/{model}"
_PROBLEM = answers.Problem

_RETRY_AFTER = Header("Retry-After", {"type": "integer"}, "seconds")
_HEADERS_OF_PROBLEMS = {
    HTTPStatus.UNAUTHORIZED: (Header("WWW-Authenticate", {"type": "string"}, "the scheme: Bearer"),),
    HTTPStatus.TOO_MANY_REQUESTS: (_RETRY_AFTER,),
    HTTPStatus.SERVICE_UNAVAILABLE: (_RETRY_AFTER,),
}

# These come from gunicorn, before the application sees the request.
_OF_THE_SERVER = {
    str(status.value): {"description": description, "content": {"text/html": {"schema": {"type": "string"}}}}
    for status, description in (
        (HTTPStatus.REQUEST_URI_TOO_LONG, "the address is longer than 4094 bytes"),
        (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "there are too many headers, or one is too long"),
    )
}

_FILES = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "description": "the three files, each by its file name; a field may have any name",
                "additionalProperties": {"type": "string", "format": "binary"},
            }
        }
    },
}


@bp.get("/openapi.json")
@described(Answer(dict[str, Any]))
def document() -> Response:
    """This description."""
    if _EXTENSION not in current_app.extensions:  # once per process: who does not ask need not wait for it
        current_app.extensions[_EXTENSION] = json.dumps(describe(current_app), separators=(",", ":"))
    return Response(current_app.extensions[_EXTENSION], mimetype="application/json")


def describe(app: Flask) -> dict[str, Any]:
    """Return the description of every view that declares what it answers."""
    about = project()
    spec = APISpec("Experiment ETL", about["version"], "3.1.0", info={"description": about["description"]})
    with app.app_context():
        settings = services().settings
    token = settings.api_token is not None
    common = {HTTPStatus.TOO_MANY_REQUESTS: ("too_many_requests",)} if settings.max_requests_per_minute else {}
    if token:
        spec.components.security_scheme("token", {"type": "http", "scheme": "bearer"})
    declared = dict(_declared(app))
    schemas = _schemas(spec, declared)
    answered = examples.answered()
    for (path, method), (endpoint, summary, operation) in declared.items():
        is_open = endpoint in OPEN_ENDPOINTS
        curl = examples.curl(method, path, operation, token=token and not is_open)
        spec.path(
            path,
            operations={
                method: {
                    "operationId": endpoint,
                    "tags": [endpoint.partition(".")[0]],
                    "summary": summary,
                    "description": f"```sh\n{curl}\n```",
                    "x-codeSamples": [{"lang": "Shell", "label": "curl", "source": curl}],
                    "security": [{"token": []}] if token and not is_open else [],
                    "parameters": list(_parameters(operation)),
                    **({"requestBody": _body(operation.body)} if operation.body else {}),
                    **({"requestBody": _FILES} if operation.takes_files else {}),
                    "responses": _answers(operation, schemas, answered.get(endpoint))
                    | _problems(operation, endpoint, path, token, common if path.startswith("/api/") else {})
                    | _OF_THE_SERVER,
                }
            },
        )
    return spec.to_dict()


def project() -> dict[str, Any]:
    """What pyproject.toml says of the project."""
    about: dict[str, Any] = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    return about


def path_of(rule: Rule) -> str:
    """Write a route as OpenAPI does."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)


def _declared(app: Flask) -> Iterator[tuple[tuple[str, str], tuple[str, str, Operation]]]:
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        operation: Operation | None = getattr(view, "operation", None)
        if operation:
            summary = (view.__doc__ or "").partition("\n")[0]
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield (path_of(rule), method.lower()), (rule.endpoint, summary, operation)


def _schemas(spec: APISpec, declared: Mapping[Any, tuple[str, str, Operation]]) -> dict[Any, dict[str, Any]]:
    """Add the types of all answers to the document; return for each how it is referred to."""
    types = {answer.shape for _, _, operation in declared.values() for answer in operation.answers if answer.shape}
    adapters = sorted(types | {_PROBLEM}, key=str)
    found, definitions = TypeAdapter.json_schemas(
        [(type_, "serialization", TypeAdapter(type_)) for type_ in adapters], ref_template=_SCHEMAS
    )
    for name, schema in definitions["$defs"].items():
        spec.components.schema(name, schema)
    return {type_: schema for (type_, _), schema in found.items()}


def _parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for place, shape in (("path", operation.path), ("query", operation.query), ("header", operation.headers)):
        for name, schema in shape.schema["properties"].items():
            plain = {key: value for key, value in schema.items() if key not in ("title", "description")}
            required = name in shape.schema.get("required", ())
            yield {
                "name": name,
                "in": place,
                "required": required,
                "description": schema["description"],
                "schema": plain,
            }


def _body(shape: Shape) -> dict[str, Any]:
    content = {"schema": shape.schema, "example": examples.values(shape.schema)}
    return {"required": "required" in shape.schema, "content": {"application/json": content}}


def _answers(
    operation: Operation, schemas: Mapping[Any, dict[str, Any]], example: Mapping[str, Any] | None
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for answer in operation.answers:
        content: dict[str, Any] = {"application/json": {"schema": schemas[answer.shape]}} if answer.shape else {}
        for media_type in answer.media_types:
            # Bytes have no type in JSON.
            content[media_type] = {"schema": {"type": "string"}} if media_type.startswith("text/") else {}
        found[str(answer.status.value)] = {
            "description": answer.status.phrase,
            "headers": _headers(answer.headers),
            **({"content": content} if content else {}),
        }
    if example:
        found[example["status"]]["content"][example["type"]]["example"] = example["body"]
    return found


def _headers(headers: tuple[Header, ...]) -> dict[str, Any]:
    return {
        header.name: {"description": header.description, "required": header.required, "schema": dict(header.schema)}
        for header in headers
    }


def _problems(
    operation: Operation, endpoint: str, path: str, token: bool, common: Mapping[HTTPStatus, tuple[str, ...]]
) -> dict[str, Any]:
    asks_database = path.startswith("/api/")
    codes: dict[HTTPStatus, tuple[str, ...]] = {
        HTTPStatus.BAD_REQUEST: ("untrusted_host",),
        HTTPStatus.INTERNAL_SERVER_ERROR: ("internal_error",),
    }

    def add(status: HTTPStatus, *more: str) -> None:
        codes[status] = (*codes.get(status, ()), *more)

    if token and endpoint not in OPEN_ENDPOINTS:
        add(HTTPStatus.UNAUTHORIZED, "token_required")
    if not token and endpoint not in OPEN_ENDPOINTS:
        add(HTTPStatus.FORBIDDEN, "foreign_origin")
    if operation.is_checked:
        add(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_parameter")
    if operation.body:
        add(HTTPStatus.BAD_REQUEST, "invalid_json", "not_an_object")
        add(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request_entity_too_large")
        add(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_json")
    if operation.body or operation.takes_files:
        add(HTTPStatus.BAD_REQUEST, "bad_request")
        add(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "encoded_body")
        add(HTTPStatus.NOT_IMPLEMENTED, "encoded_body")
    if operation.path is not NOTHING:  # with an encoded slash it is another path
        add(HTTPStatus.NOT_FOUND, "not_found")
    if asks_database:
        add(HTTPStatus.SERVICE_UNAVAILABLE, "database_unavailable", "schema_not_ready")
    for status, more in (*common.items(), *operation.problems.items()):
        add(status, *more)
    return {
        str(status.value): _problem(status, found)
        for status, found in sorted(codes.items())
        if all(answer.status != status for answer in operation.answers)
    }


def _problem(status: HTTPStatus, codes: tuple[str, ...]) -> dict[str, Any]:
    schema = {
        "allOf": [{"$ref": "#/components/schemas/Problem"}],
        "properties": {"status": {"const": status.value}, "code": {"enum": list(codes)}},
    }
    return {
        "description": " or ".join(f"`{code}`" for code in codes),
        "headers": _headers(_HEADERS_OF_PROBLEMS.get(status, ())),
        "content": {"application/problem+json": {"schema": schema}},
    }
