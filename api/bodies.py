"""Request bodies: one that ends before its declared length is refused, and one without is read up to the limit."""

from typing import IO, cast

from flask import Flask, Request
from werkzeug.utils import cached_property
from werkzeug.wsgi import LimitedStream


def init_app(app: Flask) -> None:
    app.request_class = BoundedRequest


class BoundedRequest(Request):
    @cached_property
    def stream(self) -> IO[bytes]:
        limit, length = self.max_content_length, self.content_length
        if limit is not None and "Transfer-Encoding" in self.headers:
            return cast(IO[bytes], BoundedStream(self.environ["wsgi.input"], limit, is_max=True))
        if limit is not None and length is not None and length <= limit:
            # Werkzeug trusts the server to notice; gunicorn takes a connection that breaks off for the body's end.
            return cast(IO[bytes], LimitedStream(self.environ["wsgi.input"], length))
        return super().stream


class BoundedStream(LimitedStream):
    def readall(self) -> bytes:
        """Raise RequestEntityTooLarge where more follows. Werkzeug's own would return the part before the limit."""
        data = super().readall()
        if self.is_exhausted and self._stream.read(1):
            self.on_exhausted()
        return data
