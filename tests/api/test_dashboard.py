"""GET / and its parts: all that the page needs is there, compressed and kept. What it does is in tests/browser."""

import gzip
import posixpath
import re

import gevent
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.assets import Asset
from api.rows import SORTS
from tests.api.conftest import problem


def _linked(client: FlaskClient) -> list[str]:
    return re.findall(r'(?:src|href)="(/[^"]+)"', client.get("/").text)


def _scripts(client: FlaskClient) -> dict[str, str]:
    """Every script of the page by its path, those included that others import, now or later."""
    found: dict[str, str] = {}
    wanted = [path for path in _linked(client) if path.endswith(".js")]
    while wanted:
        path = wanted.pop()
        if path not in found:
            response = client.get(path)
            assert (response.status_code, response.mimetype) == (200, "text/javascript"), path
            found[path] = response.text
            imported = re.findall(r'(?:from|import\(|new URL\()\s*"\.?/?([\w.]+\.js)"', response.text)
            wanted += [posixpath.join(posixpath.dirname(path), name) for name in imported]
    return found


def test_the_page_is_html_without_any_data_of_its_own(client: FlaskClient) -> None:
    response = client.get("/")

    assert (response.status_code, response.mimetype) == (200, "text/html")
    assert "<h1>Experiment ETL</h1>" in response.text


def test_everything_that_the_page_loads_is_there_and_of_the_right_kind(client: FlaskClient) -> None:
    answers = {path: client.get(path) for path in _linked(client)}

    assert {answer.mimetype for answer in answers.values()} == {"text/css", "text/javascript", "image/svg+xml"}
    assert {answer.status_code for answer in answers.values()} == {200}


def test_every_module_that_another_one_imports_is_there(client: FlaskClient) -> None:
    names = {posixpath.basename(path) for path in _scripts(client)}

    assert names >= {"app.js", "api.js", "charts.js", "echarts.min.js"}


def test_what_only_the_charts_need_is_not_loaded_with_the_page(client: FlaskClient) -> None:
    names = {posixpath.basename(path) for path in _linked(client)}

    assert not names & {"charts.js", "drawing.js", "echarts.min.js"}


def test_the_page_needs_nothing_that_its_own_policy_forbids(client: FlaskClient) -> None:
    page = client.get("/").text

    assert not re.search(r"<script(?![^>]*\bsrc=)", page), "a script inside the page"
    assert "<style" not in page
    assert not re.search(r"\son\w+=|\sstyle=", page)
    assert "//" not in page, "something from elsewhere"


def test_scripts_are_as_short_as_modules_are(client: FlaskClient) -> None:
    own = {path: text.splitlines() for path, text in _scripts(client).items() if "echarts.min" not in path}

    assert {path: len(lines) for path, lines in own.items() if len(lines) > 250} == {}
    assert [line for lines in own.values() for line in lines if len(line) > 120] == []


def test_data_never_becomes_markup(client: FlaskClient) -> None:
    own = {path: text for path, text in _scripts(client).items() if "echarts.min" not in path}

    banned = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function")
    assert [path for path, text in own.items() if banned.search(text)] == []


def test_the_page_offers_every_order_that_the_api_has(client: FlaskClient) -> None:
    script = next(text for path, text in _scripts(client).items() if path.endswith("/users.js"))
    [offered] = re.findall(r"const SORTED_BY = \[(.*?)\]", script)

    assert set(re.findall(r'"(\w+)"', offered)) == {sort.removeprefix("-") for sort in SORTS}


@pytest.fixture
def part(client: FlaskClient) -> str:
    return next(path for path in _linked(client) if path.endswith("base.css"))


def test_a_part_is_compressed_for_who_reads_that(client: FlaskClient, part: str) -> None:
    plain = client.get(part)
    compressed = client.get(part, headers={"Accept-Encoding": "gzip, deflate, br"})
    refused = client.get(part, headers={"Accept-Encoding": "gzip;q=0"})

    assert compressed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(compressed.data) == plain.data == refused.data
    assert "Content-Encoding" not in plain.headers
    assert {answer.headers["Vary"] for answer in (plain, compressed)} == {"Accept-Encoding"}


def test_others_are_served_while_a_part_is_compressed() -> None:
    served: list[str] = []
    gevent.spawn(served.append, "another request")

    assert gzip.decompress(Asset("large.js", b"content").gzipped) == b"content"
    assert served == ["another request"]


def test_a_part_is_kept_for_good_and_the_page_is_not(client: FlaskClient, part: str) -> None:
    assert client.get(part).headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert client.get("/").headers["Cache-Control"] == "no-store"


def test_a_part_of_another_release_is_a_404_that_nobody_keeps(client: FlaskClient, part: str) -> None:
    _, _, digest, name = part.split("/")

    for path in (f"/static/{digest[::-1]}/{name}", f"/static/{digest}/absent.js", f"/static/{digest}/..%2f__init__.py"):
        response: TestResponse = client.get(path)
        problem(response, 404, "not_found")
        assert response.headers["Cache-Control"] == "no-store"


def test_the_first_view_is_small(client: FlaskClient) -> None:
    answers = [client.get(path, headers={"Accept-Encoding": "gzip"}) for path in _linked(client)]

    assert sum(len(answer.data) for answer in answers) < 100_000
