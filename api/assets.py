"""The files that the page is made of, in memory: named by a digest of all their content, and compressed once.

Every address begins with the digest, so a browser may keep what it has for good, modules find each other by their
relative names, and a page never meets parts of another release.
"""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

_STATIC = Path(__file__).parent / "static"
_DIGEST_CHARS = 16


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
        return gzip.compress(self.content, mtime=0)


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

    def names(self, suffix: str) -> list[str]:
        return [name for name in self._by_name if name.endswith(suffix)]


def load() -> Assets:
    """Read the page's own files, and the library that draws its charts."""
    own = [Asset(path.name, path.read_bytes()) for path in sorted(_STATIC.iterdir()) if path.is_file()]
    return Assets([*own, Asset("echarts.min.js", _echarts().read_bytes())])


def _echarts() -> Path:
    """Where the wheel of vizly has Apache ECharts, as released; the package itself is not imported."""
    found = find_spec("vizly")
    if not found or not found.origin:
        raise ModuleNotFoundError("vizly, which holds echarts.min.js, is not installed")
    return Path(found.origin).parent / "assets" / "echarts.min.js"
