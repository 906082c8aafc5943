"""The web page; its data comes from the JSON API."""

from http import HTTPStatus

from flask import Blueprint, Flask, Response, current_app, render_template, request
from werkzeug.exceptions import NotFound

from api import assets
from api.assets import Asset, Assets

bp = Blueprint("dashboard", __name__)

# What only some visitors need is loaded when they do.
_LATER = ("charts.js", "echarts.min.js")


def init_app(app: Flask) -> None:
    app.extensions["assets"] = assets.load()
    app.register_blueprint(bp)


def _assets() -> Assets:
    found: Assets = current_app.extensions["assets"]
    return found


@bp.get("/")
def page() -> str:
    names = _assets().names(".js")
    return render_template(
        "dashboard.html", digest=_assets().digest, modules=[name for name in names if name not in _LATER]
    )


@bp.get("/static/<digest>/<name>")
def asset(digest: str, name: str) -> Response:
    """A part of the page, for good; 404 for one of another release."""
    found = _assets().get(name) if digest == _assets().digest else None
    if not found:
        raise NotFound
    response = _encoded(found)
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    response.vary.add("Accept-Encoding")
    return response


def _encoded(asset: Asset) -> Response:
    if request.accept_encodings["gzip"] > 0:
        return Response(asset.gzipped, HTTPStatus.OK, {"Content-Encoding": "gzip"}, mimetype=asset.media_type)
    return Response(asset.content, mimetype=asset.media_type)
