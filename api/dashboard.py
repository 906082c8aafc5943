"""The web page; its data comes from the JSON API."""

from flask import Blueprint, render_template

from api import assets

bp = Blueprint("dashboard", __name__)

# What only some visitors need is loaded when they do.
_LATER = frozenset({"charts.js", "drawing.js", "echarts.min.js", "docs.js", "swagger-ui-bundle.js"})


@bp.get("/")
def page() -> str:
    modules = [name for name in assets.all_assets().names(".js") if name not in _LATER]
    return render_template("dashboard.html", modules=modules)
