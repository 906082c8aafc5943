"""The files that the pages are made of, in memory: named by a digest of all their content, and compressed once.

Every address begins with the digest, so a browser may keep what it has for good, modules find each other by their
relative names, and a page never meets parts of another release.
"""

import gzip
import hashlib
import mimetypes
import re
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path

import gevent
from flask import Blueprint, Flask, Response, current_app, request
from werkzeug.exceptions import NotFound

bp = Blueprint("assets", __name__, url_prefix="/static")

_EXTENSION = "assets"
_STATIC = Path(__file__).parent / "static"
# Files that are in wheels. The packages themselves are not imported.
_OF_WHEELS = {
    "vizly": ("assets/echarts.min.js",),  # Apache ECharts, as released
    "flask_swagger_ui": ("dist/swagger-ui.css", "dist/swagger-ui-bundle.js"),
}
_DIGEST_CHARS = 16
_IMPORTED = re.compile(rb'from "\./([\w.]+)"')


@dataclass(frozen=True)
class Asset:
    """A file; `gzipped` is made when it is first asked for."""

    name: str
    content: bytes

    @property
    def media_type(self) -> str:
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"

    @cached_property
    def gzipped(self) -> bytes:
        # In a thread that gevent keeps for this: the largest take 60 ms, and all other requests would have to wait.
        compressed: bytes = gevent.get_hub().threadpool.apply(gzip.compress, (self.content,), {"mtime": 0})
        return compressed


class Assets:
    """All files by name, and their digest."""

    def __init__(self, assets: list[Asset]) -> None:
        self._by_name = {asset.name: asset for asset in assets}
        digest = hashlib.sha256()
        for asset in assets:
            digest.update(b"%d %s %d " % (len(asset.name), asset.name.encode(), len(asset.content)) + asset.content)
        self.digest = digest.hexdigest()[:_DIGEST_CHARS]

    def get(self, name: str) -> Asset | None:
        return self._by_name.get(name)

    def address(self, name: str) -> str:
        return f"{bp.url_prefix}/{self.digest}/{name}"

    def modules(self, name: str) -> list[str]:
        """The module and all that it imports, directly or not, at its start: who loads it needs them at once."""
        found = [name]
        for module in found:
            imported = _IMPORTED.findall(self._by_name[module].content)
            found += [other for other in map(bytes.decode, imported) if other not in found]
        return found


def init_app(app: Flask) -> None:
    """Read the files, and let templates say `static('NAME')`."""
    paths = [*sorted(path for path in _STATIC.iterdir() if path.is_file()), *_of_wheels()]
    assets = Assets([Asset(path.name, path.read_bytes()) for path in paths])
    app.extensions[_EXTENSION] = assets
    app.add_template_global(assets.address, "static")


def _of_wheels() -> list[Path]:
    found: list[Path] = []
    for package, names in _OF_WHEELS.items():
        spec = find_spec(package)
        if not spec or not spec.origin:
            raise ModuleNotFoundError(f"{package}, which holds {', '.join(names)}, is not installed")
        found += [Path(spec.origin).parent / name for name in names]
    return found


def all_assets() -> Assets:
    found: Assets = current_app.extensions[_EXTENSION]
    return found


@bp.get("/<digest>/<name>")
def show(digest: str, name: str) -> Response:
    """A file, for good; 404 for one of another release."""
    found = all_assets().get(name) if digest == all_assets().digest else None
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
