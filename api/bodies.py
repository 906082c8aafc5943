"""Request bodies without a declared length: they are read up to the limit, and what is longer is refused."""

from typing import IO, cast

from flask import Flask, Request
from werkzeug.utils import cached_property
from werkzeug.wsgi import LimitedStream


def init_app(app: Flask) -> None:
    app.request_class = BoundedRequest


class BoundedRequest(Request):
    @cached_property
    def stream(self) -> IO[bytes]:
        limit = self.max_content_length
        if limit is None or "Transfer-Encoding" not in self.headers:
            return super().stream
        return cast(IO[bytes], BoundedStream(self.environ["wsgi.input"], limit, is_max=True))


class BoundedStream(LimitedStream):
    def readall(self) -> bytes:
        """Raise RequestEntityTooLarge where more follows. Werkzeug's own would return the part before the limit."""
        data = super().readall()
        if self.is_exhausted and self._stream.read(1):
            self.on_exhausted()
        return data
