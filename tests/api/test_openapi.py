"""GET /openapi.json"""

import tomllib
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator

from api import openapi
from tests.api.conftest import ClientWith
from tests.conftest import ROOT

PATH = "/openapi.json"

# What is for people: the page and its parts.
PAGES = {"/", "/static/<digest>/<name>", "/docs"}


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    response = client.get(PATH)
    assert (response.status_code, response.mimetype) == (200, "application/json")
    body: dict[str, Any] = response.get_json()
    return body


def _calls(app: Flask) -> set[tuple[str, str]]:
    return {
        (openapi.path_of(rule), method)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule not in PAGES
    }


def _operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (path, method.upper()): operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def test_the_description_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_described(client: FlaskClient, document: dict[str, Any]) -> None:
    assert set(_operations(document)) == _calls(client.application)
    assert len(_operations(document)) >= 13


def test_every_operation_says_what_it_is_for(document: dict[str, Any]) -> None:
    for call, operation in _operations(document).items():
        assert operation["summary"], call
        for parameter in operation["parameters"]:
            assert parameter["description"], (call, parameter)


def test_the_version_is_the_projects(document: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert document["info"]["version"] == project["version"]


def test_a_request_is_described_as_it_is_checked(document: dict[str, Any]) -> None:
    operations = _operations(document)
    limit = next(p for p in operations["/api/v1/features", "GET"]["parameters"] if p["name"] == "limit")
    body = operations["/api/v1/jobs", "POST"]["requestBody"]["content"]["application/json"]["schema"]

    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
    assert body["additionalProperties"] is False
    assert body["properties"]["mode"]["enum"] == ["publish", "dry_run"]
    ratio = body["properties"]["max_rejected_ratio"]
    assert (ratio["type"], ratio["minimum"], ratio["maximum"]) == ("number", 0, 1)


def test_a_feature_of_the_catalogue_needs_no_description(document: dict[str, Any]) -> None:
    for name in ("FeatureRow", "User", "Summary"):
        assert document["components"]["schemas"][name]["additionalProperties"] is True


def test_every_error_is_a_problem_with_the_codes_of_its_status(document: dict[str, Any]) -> None:
    problem = _operations(document)["/api/v1/jobs", "POST"]["responses"]["429"]

    assert list(problem["content"]) == ["application/problem+json"]
    assert problem["content"]["application/problem+json"]["schema"]["properties"]["code"]["enum"] == ["queue_full"]
    assert problem["headers"]["Retry-After"]["required"]


def test_the_token_is_described_where_one_is_set(document: dict[str, Any], client_with: ClientWith) -> None:
    headers = {"Authorization": "Bearer secret-token"}
    guarded = _operations(client_with(api_token="secret-token").get(PATH, headers=headers).get_json())
    for (path, _), operation in guarded.items():
        is_guarded = path not in ("/healthz", "/readyz", "/openapi.json")
        assert operation["security"] == ([{"token": []}] if is_guarded else [])
        assert ("401" in operation["responses"]) == is_guarded

    assert "securitySchemes" not in document["components"]
    assert all("401" not in operation["responses"] for operation in _operations(document).values())


def test_it_is_put_together_once(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first = client.get(PATH).data
    monkeypatch.setattr(openapi, "describe", None)

    assert client.get(PATH).data == first
