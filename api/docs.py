"""/docs: /openapi.json as a page, on which every call can be tried out. Nothing of it comes from another host."""

from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from flask import Blueprint, Response, abort, render_template, send_from_directory

bp = Blueprint("docs", __name__)

_PACKAGE = "flask_swagger_ui"  # for the files that it carries; none of its code runs
_ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js")
# The style sheet draws its arrows as images that are written into it.
_POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
_YEAR_S = 365 * 24 * 3600


@bp.get("/docs")
def page() -> Response:
    response = Response(render_template("docs.html", version=_version()))
    response.headers["Content-Security-Policy"] = _POLICY
    return response


@bp.get("/docs/<version>/<name>")
def asset(version: str, name: str) -> Response:
    """A file of Swagger UI. Its address holds its version, so whoever has it need not ask again."""
    if name not in _ASSETS or version != _version():
        abort(404)
    response = send_from_directory(_directory(), name, max_age=_YEAR_S)
    response.cache_control.public, response.cache_control.immutable = True, True
    return response


@cache
def _version() -> str:
    return version(_PACKAGE)


@cache
def _directory() -> Path:
    found = find_spec(_PACKAGE)
    assert found, f"{_PACKAGE} is not installed"  # noqa: S101 - requirements.txt has it
    assert found.submodule_search_locations  # noqa: S101 - it is a package
    return Path(found.submodule_search_locations[0]) / "dist"
