"""Operations: a view's signature says what a request may hold, and `operation` what it answers.

The same declaration checks the request and makes its part of /openapi.json, so the two cannot differ.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property, wraps
from http import HTTPStatus
from inspect import get_annotations
from typing import Any, TypeVar

from flask import request
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from api import parameters

View = TypeVar("View", bound=Callable[..., Any])

# The arguments of a view that are not parts of its path.
_QUERY, _BODY, _HEADERS, _RETURN = "query", "body", "headers", "return"


@dataclass(frozen=True)
class Header:
    """A header of an answer; `required` where every such answer has it."""

    name: str
    schema: Mapping[str, str]
    description: str
    required: bool = True


@dataclass(frozen=True)
class Answer:
    """What a view answers: `shape` is the type of its JSON, None where there is none.

    `media_types` are those that the answer may have instead.
    """

    shape: Any
    status: HTTPStatus = HTTPStatus.OK
    headers: tuple[Header, ...] = ()
    media_types: tuple[str, ...] = ()


class Shape:
    """The named fields of a part of a request."""

    def __init__(self, type_: Any) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(type_)
        self.names: Collection[str] = get_annotations(type_)

    @cached_property
    def schema(self) -> dict[str, Any]:
        return self._adapter.json_schema() | {"additionalProperties": False}

    def read(self, values: Mapping[str, Any]) -> Any:
        """Return the values as the types want them. Raises Problem, which names the field and what is allowed."""
        parameters.refuse_unknown(values.keys(), self.names)
        try:
            return self._adapter.validate_python(values, strict=True)
        except ValidationError as error:
            name = str(error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"][0])
            raise parameters.invalid(name, self.schema["properties"][name]["description"]) from error


class Nothing(TypedDict):
    """No field at all."""


NOTHING = Shape(Nothing)


@dataclass(frozen=True)
class Operation:
    """A view as /openapi.json describes it: `problems` are the codes of each status, beside those of every view."""

    answers: tuple[Answer, ...]
    problems: Mapping[HTTPStatus, tuple[str, ...]]
    path: Shape = NOTHING
    query: Shape = NOTHING
    headers: Shape = NOTHING
    body: Shape | None = None
    takes_files: bool = False
    is_checked: bool = True
    example: Mapping[str, Any] = field(default_factory=dict)

    def read(self, path: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of the view. Raises Problem."""
        given: dict[str, Any] = dict(self.path.read(path)) if path else {}
        query = self.query.read(parameters.query())
        if self.query is not NOTHING:
            given[_QUERY] = query
        if self.headers is not NOTHING:
            sent = {name: request.headers[name] for name in self.headers.names if name in request.headers}
            given[_HEADERS] = self.headers.read(sent)
        if self.body:
            given[_BODY] = self.body.read(parameters.json_body())
        return given


def operation(
    *answers: Answer,
    problems: Mapping[HTTPStatus, tuple[str, ...]] | None = None,
    takes_files: bool = False,
    **example: Any,
) -> Callable[[View], Callable[..., Any]]:
    """Check each request against the view's signature, and note what the view answers.

    The types of the arguments `query`, `headers` and `body` are TypedDicts of what may be there; the other arguments
    are those of the path. A view without `query` takes no query parameters; one that
    `takes_files` reads its body itself. `example` are values for the example (api/examples.py) that the types have not
    themselves: of the path, and of query parameters, which it leaves out otherwise.
    """

    def declare(view: View) -> Callable[..., Any]:
        types = get_annotations(view)
        in_path = {name: type_ for name, type_ in types.items() if name not in (_QUERY, _BODY, _HEADERS, _RETURN)}
        declared = Operation(
            answers,
            problems or {},
            path=Shape(TypedDict("Path", in_path)) if in_path else NOTHING,  # type: ignore[operator]
            query=Shape(types[_QUERY]) if _QUERY in types else NOTHING,
            headers=Shape(types[_HEADERS]) if _HEADERS in types else NOTHING,
            body=Shape(types[_BODY]) if _BODY in types else None,
            takes_files=takes_files,
            example=example,
        )

        @wraps(view)
        def checked(**path: Any) -> Any:
            return view(**declared.read(path))

        checked.operation = declared  # type: ignore[attr-defined]
        return checked

    return declare


def described(*answers: Answer) -> Callable[[View], View]:
    """Note what a view answers that takes any request: probes add parameters of their own."""

    def declare(view: View) -> View:
        view.operation = Operation(answers, {}, is_checked=False)  # type: ignore[attr-defined]
        return view

    return declare
