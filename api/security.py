"""Who may ask: the token, the hosts that the service answers for, and where a page's requests may come from."""

import hmac
import re
from collections.abc import Collection
from http import HTTPStatus

from flask import Flask, Response, request

from api.parameters import not_json
from api.problems import Problem
from worker.settings import Settings

# What a token does not close: whether the service is alive, and the pages without data. A browser sends no token for a
# page, and the page is what asks for one. What may be asked is on one of them, so its description is open as well: it
# holds nothing of this installation, and anybody can have the program.
OPEN_ENDPOINTS = frozenset(
    {
        "health.healthz",
        "health.readyz",
        "dashboard.page",
        "assets.show",
        "docs.page",
        "openapi.document",
    }
)

# For every request; a view that takes more says so itself: request.max_content_length = ...
REQUEST_BYTES_MAX = 64 * 1024

_SCHEMES = ("http", "https")

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
        _refuse_foreign_host(settings.trusted_hosts)
        if not settings.api_token:
            _refuse_foreign_page()
        elif request.endpoint not in OPEN_ENDPOINTS:  # unknown paths have none: a stranger cannot find out which exist
            _require_token(settings.api_token)
        _refuse_encoded_body()
        _refuse_form()

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response


def _refuse_foreign_host(trusted: Collection[str]) -> None:
    """Take the header as it is: without one, `request.host` would be the address that the service listens on."""
    host = request.headers.get("Host", "")
    if not _is_trusted(host, trusted):
        raise Problem(HTTPStatus.BAD_REQUEST, "untrusted_host", f"this service is not called {host!r}")


def _is_trusted(host: str, trusted: Collection[str]) -> bool:
    """Compare without the port. Flask's own TRUSTED_HOSTS knows no IPv6 address: it cuts at the first colon."""
    name = re.sub(r":[0-9]+$", "", host).casefold()
    return any(name == entry.removeprefix(".") or (entry.startswith(".") and name.endswith(entry)) for entry in trusted)


def _require_token(token: str) -> None:
    """Wrong tokens are counted like any request (api/rates.py), and shut nobody out by themselves.

    A token is too long to be guessed, and all who share an address with one that has an old token would suffer: behind
    Docker's proxy everybody does.
    """
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "token_required",
            "send the API token: Authorization: Bearer TOKEN",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _refuse_foreign_page() -> None:
    """Without a token anyone who can send a request may; a page of another site must not send one for its visitor.

    Browsers name the page's origin, at least with what is not GET; the newer ones also say how it relates to this one.
    A link to here may be followed from anywhere. Other ports of this host are other services: "same-site" is foreign.
    """
    origin = request.headers.get("Origin")
    if origin is not None and origin.casefold() not in {f"{scheme}://{request.host.casefold()}" for scheme in _SCHEMES}:
        raise _foreign(origin)
    follows_link = request.method in ("GET", "HEAD") and request.headers.get("Sec-Fetch-Mode") == "navigate"
    if request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site") and not follows_link:
        raise _foreign("another site")


def _foreign(origin: str) -> Problem:
    return Problem(HTTPStatus.FORBIDDEN, "foreign_origin", f"requests from pages of {origin} are not accepted")


def _refuse_encoded_body() -> None:
    """What would have to be decoded is not read as if it were plain."""
    if request.headers.get("Content-Encoding", "identity").strip().casefold() != "identity":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "encoded_body", "send the body without Content-Encoding")
    if request.headers.get("Transfer-Encoding", "chunked").strip().casefold() != "chunked":
        raise Problem(HTTPStatus.NOT_IMPLEMENTED, "encoded_body", "of transfer encodings only chunked is understood")


def _refuse_form() -> None:
    """Any page can send a form or plain text here, and an old browser does not say from where.

    It always names the type, also of an empty body. JSON and any PUT it does not send without asking here first, and
    that is never granted.
    """
    # What leads nowhere does no harm, and is better told that it leads nowhere.
    if request.routing_exception or request.method == "PUT" or request.mimetype == "application/json":
        return
    has_body = bool(request.content_length) or "Transfer-Encoding" in request.headers
    if has_body or (request.mimetype and request.method == "POST"):
        raise not_json()
