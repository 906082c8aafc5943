"""Who may ask: the token, the hosts that the service answers for, and where a page's requests may come from."""

import hmac
import re
from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import urlsplit

from flask import Flask, Response, request

from api.problems import Problem
from worker.settings import Settings

OPEN_ENDPOINTS = frozenset({"health.healthz", "health.readyz"})
REQUEST_BYTES_MAX = 64 * 1024

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def init_app(app: Flask, settings: Settings) -> None:
    app.config["MAX_CONTENT_LENGTH"] = REQUEST_BYTES_MAX

    @app.before_request
    def refuse_strangers() -> None:
        if not _is_trusted(request.host, settings.trusted_hosts):
            raise Problem(HTTPStatus.BAD_REQUEST, "untrusted_host", f"this service is not called {request.host!r}")
        if request.endpoint in OPEN_ENDPOINTS:
            return
        if settings.api_token and request.path.startswith("/api/"):
            _require_token(settings.api_token)
        elif not settings.api_token:
            _refuse_foreign_origin()

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response


def _is_trusted(host: str, trusted: Collection[str]) -> bool:
    """Compare without the port. Flask's own TRUSTED_HOSTS knows no IPv6 address: it cuts at the first colon."""
    name = re.sub(r":[0-9]+$", "", host).casefold()
    return any(name == entry or (entry.startswith(".") and name.endswith(entry)) for entry in trusted)


def _require_token(token: str) -> None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "token_required",
            "send the API token: Authorization: Bearer TOKEN",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _refuse_foreign_origin() -> None:
    """Without a token anyone who can send a request may; a page of another site must not send one for its visitor."""
    origin = request.headers.get("Origin")
    if origin and urlsplit(origin).netloc != request.host:
        raise Problem(HTTPStatus.FORBIDDEN, "foreign_origin", f"requests from pages of {origin} are not accepted")
