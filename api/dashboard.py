"""The web page; its data comes from the JSON API."""

from flask import Blueprint, render_template

bp = Blueprint("dashboard", __name__, static_folder="static", static_url_path="/static")


@bp.get("/")
def page() -> str:
    return render_template("dashboard.html")
