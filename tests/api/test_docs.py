"""GET /docs, in a browser that reaches nothing but this machine."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from tests.api.conftest import ClientWith
from tests.conftest import Programs, missing

OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
# It asks for things of its own that nobody here wants, and gets none.
ALONE = ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]
QUIET = ["--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions"]


def assets(client: FlaskClient) -> list[str]:
    return re.findall(r'(?:src|href)="(/[^"]+)"', client.get("/docs").get_data(as_text=True))


def test_the_page_has_no_script_or_style_of_its_own(client: FlaskClient) -> None:
    response = client.get("/docs")

    assert (response.status_code, response.mimetype) == (200, "text/html")
    assert re.findall(r"<script[^>]*>[^<]", response.get_data(as_text=True)) == []
    assert "style" not in re.sub(r'rel="stylesheet"', "", response.get_data(as_text=True))
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert len(assets(client)) == 4


def test_the_parts_of_the_page_are_there_and_kept_in_caches(client: FlaskClient) -> None:
    for path in assets(client):
        response = client.get(path)
        assert response.status_code == 200
        assert response.cache_control.immutable


def test_a_stranger_may_see_what_may_be_asked(client_with: ClientWith) -> None:
    client = client_with(api_token=uuid4().hex)

    for path in ("/docs", "/openapi.json", *assets(client)):
        assert client.get(path).status_code == 200


@pytest.fixture
def browser() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    return found or missing("chromium")


def _requested(log: Path, page: str) -> set[str]:
    """The addresses that a page has asked for, by the browser's own log of the network."""
    found: dict[str, Any] = json.loads(log.read_text())
    started = found["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    requests = [event.get("params", {}) for event in found["events"] if event["type"] == started]
    return {request["url"] for request in requests if request.get("initiator") == page}


@pytest.mark.browser
@pytest.mark.parametrize("token", ["", "x" * 20], ids=["open", "with a token"])
def test_a_browser_shows_every_operation_and_its_example_without_any_complaint(
    programs: Programs, browser: str, tmp_path: Path, token: str
) -> None:
    log = tmp_path / "network.json"
    where = [f"--user-data-dir={tmp_path}/profile", f"--log-net-log={log}", "--enable-logging=stderr"]
    with programs.api(API_TOKEN=token) as served:
        address = f"{served.url}/docs#/jobs/jobs.submit"  # with that one opened
        shown = subprocess.run(
            [browser, *OPTIONS, *QUIET, *ALONE, *where, "--virtual-time-budget=20000", "--dump-dom", address],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )

        document = json.loads(urlopen(f"{served.url}/openapi.json").read())

    declared = {of["operationId"] for operations in document["paths"].values() for of in operations.values()}
    assert set(re.findall(r'id="operations-(?!tag-)[^"]+?-([^"]+)"', shown.stdout.replace("\\.", "."))) == declared
    text = html.unescape(re.sub(r"<[^>]+>", "", shown.stdout))
    assert "curl --json" in text, "the example of a request"
    assert '"state": "queued"' in text, "and that of its answer"
    assert [line for line in shown.stderr.splitlines() if ":CONSOLE" in line] == []
    requested = _requested(log, served.url)
    assert f"{served.url}/openapi.json" in requested
    assert {url for url in requested if not url.startswith(f"{served.url}/")} == set()
