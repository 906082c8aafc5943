"""/docs: /openapi.json as a page, on which every call can be tried out. Nothing of it comes from another host."""

from flask import Blueprint, Response, render_template

bp = Blueprint("docs", __name__)

# The style sheet draws its arrows as images that are written into it.
_POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"


@bp.get("/docs")
def page() -> Response:
    return Response(render_template("docs.html"), headers={"Content-Security-Policy": _POLICY}, mimetype="text/html")
