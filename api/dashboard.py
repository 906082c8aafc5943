"""The web page; its data comes from the JSON API."""

from flask import Blueprint, render_template

from api import assets

bp = Blueprint("dashboard", __name__)


@bp.get("/")
def page() -> str:
    return render_template("dashboard.html", modules=assets.all_assets().modules("app.js"))
