"""GET /: the page, and that everything it needs is there."""

import re

from flask.testing import FlaskClient

from tests.conftest import InProcess


def test_the_page_is_html_without_any_data_of_its_own(client: FlaskClient) -> None:
    response = client.get("/")

    assert (response.status_code, response.mimetype) == (200, "text/html")
    assert "<h1>Experiment ETL</h1>" in response.text


def test_everything_that_the_page_loads_is_there_and_of_the_right_kind(client: FlaskClient) -> None:
    loaded = re.findall(r'(?:src|href)="([^"]+)"', client.get("/").text)

    answers = {path: client.get(path, buffered=True) for path in loaded}

    assert {answer.mimetype for answer in answers.values()} == {"text/css", "text/javascript"}
    assert {answer.status_code for answer in answers.values()} == {200}


def test_the_page_needs_nothing_that_its_own_policy_forbids(client: FlaskClient) -> None:
    page = client.get("/").text

    assert not re.search(r"<script(?![^>]*\bsrc=)", page), "a script inside the page"
    assert "<style" not in page
    assert not re.search(r"\son\w+=|\sstyle=", page)
    assert "//" not in page, "something from elsewhere"


def test_the_page_asks_only_for_what_the_api_has(client: FlaskClient, in_process: InProcess) -> None:
    in_process.run()
    asked = re.findall(r'get\("([^"]+)"\)', client.get("/static/dashboard.js", buffered=True).text)

    assert asked
    for path in asked:
        response = client.get(f"/{path}")
        assert response.status_code == 200, path
        assert response.get_json()["items"], path


def test_what_the_page_shows_of_a_row_is_in_the_row(client: FlaskClient, in_process: InProcess) -> None:
    in_process.run()
    script = client.get("/static/dashboard.js", buffered=True).text

    for letter, path in (("d", "/api/v1/datasets"), ("j", "/api/v1/jobs")):
        shown = set(re.findall(rf"\b{letter}\.(\w+)", script))
        assert shown
        assert shown <= set(client.get(path).get_json()["items"][0])
