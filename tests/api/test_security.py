"""The token, the hosts, the origins and the headers."""

import re
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from tests.api.conftest import ClientWith, problem
from tests.conftest import InProcess

TOKEN = uuid4().hex

# What a stranger may see where a token is set: whether the service is alive, what may be asked, the page without data.
OPEN = {"/healthz", "/readyz", "/", "/static/<digest>/<name>", "/docs", "/openapi.json"}


@pytest.fixture
def guarded(client_with: ClientWith) -> FlaskClient:
    return client_with(api_token=TOKEN)


def _calls(app: Flask) -> list[tuple[Rule, str, str]]:
    """Every rule of the application, with each of its methods and a path that it matches."""
    return [
        (rule, method, re.sub(r"<[^>]+>", "1", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in sorted(rule.methods or ())
    ]


def test_every_route_but_those_for_strangers_wants_the_token(guarded: FlaskClient, in_process: InProcess) -> None:
    calls = _calls(guarded.application)
    assert {rule.rule for rule, _, _ in calls} >= {*OPEN, "/api/v1/jobs", "/api/v1/features"}

    for rule, method, path in calls:
        response = guarded.open(path, method=method)
        if rule.rule in OPEN:
            assert response.status_code != 401, (method, path)
        else:
            assert response.status_code == 401, (method, path)
            assert response.headers["WWW-Authenticate"] == "Bearer"

    assert in_process.query("SELECT id FROM jobs") == []


def test_a_new_route_is_closed_wherever_it_is(client_with: ClientWith) -> None:
    client = client_with(api_token=TOKEN)
    paths = ("/new", "/docs/new", "/metrics/new", "/health")
    for path in paths:
        client.application.add_url_rule(path, path, lambda: "secret")

    for path in paths:
        problem(client.get(path), 401, "token_required")


def test_a_path_that_does_not_exist_wants_the_token_too(guarded: FlaskClient) -> None:
    """Otherwise a stranger could find out which do."""
    problem(guarded.get("/absent"), 401, "token_required")
    problem(guarded.post("/"), 401, "token_required")
    problem(guarded.get("/api/v1/absent"), 401, "token_required")
    problem(guarded.delete("/api/v1/jobs"), 401, "token_required")


def test_the_token_opens_every_route(guarded: FlaskClient, in_process: InProcess) -> None:
    in_process.run()

    for _, method, path in _calls(guarded.application):
        response = guarded.open(path, method=method, headers={"Authorization": f"Bearer {TOKEN}"})
        assert response.status_code not in (401, 403), (method, path)


def test_what_is_not_the_token_opens_nothing(guarded: FlaskClient) -> None:
    wrong = [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.upper()}",
        f"Bearer {TOKEN} {TOKEN}",
        "Bearer ä",
    ]
    for value in wrong:
        response = guarded.get("/api/v1/jobs", headers={"Authorization": value})
        body = problem(response, 401, "token_required")
        assert body["detail"] == "send the API token: Authorization: Bearer TOKEN"


def test_the_scheme_may_be_written_in_any_case(guarded: FlaskClient) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert guarded.get("/api/v1/jobs", headers={"Authorization": f"{scheme} {TOKEN}"}).status_code == 200


def test_a_token_in_the_address_is_not_read(guarded: FlaskClient) -> None:
    problem(guarded.get(f"/api/v1/jobs?token={TOKEN}"), 401, "token_required")


def test_without_a_token_in_the_settings_everybody_may_ask(client: FlaskClient) -> None:
    assert client.get("/api/v1/jobs").status_code == 200


# --- hosts


def test_the_hosts_of_the_settings_are_answered(client: FlaskClient) -> None:
    for host in ("localhost", "localhost:8000", "127.0.0.1:8000", "[::1]", "[::1]:8000"):
        assert client.get("/healthz", headers={"Host": host}).status_code == 200, host


def test_a_foreign_host_is_a_400_whatever_it_asks_for(client: FlaskClient, in_process: InProcess) -> None:
    """A page of another site that has this address as its own name (DNS rebinding)."""
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:8000", "[::2]"):
        for path in ("/", "/healthz", "/api/v1/jobs", "/absent"):
            problem(client.get(path, headers={"Host": host}), 400, "untrusted_host")
        problem(client.post("/api/v1/jobs", headers={"Host": host}), 400, "untrusted_host")

    assert in_process.query("SELECT id FROM jobs") == []


def test_a_foreign_host_is_refused_with_the_token_too(guarded: FlaskClient) -> None:
    headers = {"Host": "evil.example", "Authorization": f"Bearer {TOKEN}"}

    problem(guarded.get("/api/v1/jobs", headers=headers), 400, "untrusted_host")


def test_other_hosts_can_be_trusted(client_with: ClientWith) -> None:
    client = client_with(trusted_hosts=("etl.example.com",))

    assert client.get("/healthz", headers={"Host": "etl.example.com"}).status_code == 200
    problem(client.get("/healthz", headers={"Host": "localhost"}), 400, "untrusted_host")


def test_a_domain_can_be_trusted_with_all_its_hosts(client_with: ClientWith) -> None:
    client = client_with(trusted_hosts=(".example.com",))

    for host in ("example.com", "ETL.example.com:8000", "a.b.example.com"):
        assert client.get("/healthz", headers={"Host": host}).status_code == 200
    problem(client.get("/healthz", headers={"Host": "anexample.com"}), 400, "untrusted_host")


# --- origins


def test_a_request_from_a_page_of_another_site_is_a_403(client: FlaskClient, in_process: InProcess) -> None:
    for origin in (
        "https://evil.example",
        "http://localhost.evil.example",
        "null",
        "http://localhost:9999",
        "x",
        "http://[",
        "",
    ):
        response = client.post("/api/v1/jobs", headers={"Origin": origin})
        problem(response, 403, "foreign_origin")

    assert in_process.query("SELECT id FROM jobs") == []


def test_a_request_from_the_services_own_page_is_answered(client: FlaskClient) -> None:
    headers = {"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000"}

    assert client.post("/api/v1/jobs", headers=headers).status_code == 202


def test_with_the_token_it_does_not_matter_where_a_request_comes_from(guarded: FlaskClient) -> None:
    """No browser adds the token by itself."""
    headers = {"Origin": "https://tools.example", "Authorization": f"Bearer {TOKEN}"}

    assert guarded.post("/api/v1/jobs", headers=headers).status_code == 202


def test_a_request_that_a_browser_marks_as_another_sites_is_a_403(client: FlaskClient, in_process: InProcess) -> None:
    """Another port of this host is the same site, and another service."""
    for site in ("cross-site", "same-site"):
        for method in ("GET", "POST"):
            response = client.open("/api/v1/jobs", method=method, headers={"Sec-Fetch-Site": site})
            problem(response, 403, "foreign_origin")
        form = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
        problem(client.post("/api/v1/jobs", headers=form), 403, "foreign_origin")

    assert in_process.query("SELECT id FROM jobs") == []


def test_a_link_on_another_site_may_be_followed(client: FlaskClient) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}

    assert client.get("/", headers=headers).status_code == 200


def test_the_services_own_page_and_what_a_person_types_are_answered(client: FlaskClient) -> None:
    for site in ("same-origin", "none"):
        assert client.post("/api/v1/jobs", headers={"Sec-Fetch-Site": site}).status_code == 202


FORMS = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b")


def test_a_form_is_a_415_also_an_empty_one_of_an_old_browser(client: FlaskClient, in_process: InProcess) -> None:
    """It says neither Origin nor Sec-Fetch-Site, and a page needs no leave to send it."""
    for content_type in FORMS:
        for body in (b"", b'{"dataset": "default"}'):
            problem(client.post("/api/v1/jobs", data=body, content_type=content_type), 415, "not_json")
    problem(client.post("/api/v1/jobs", data=b"{}", content_type=""), 415, "not_json")

    assert in_process.query("SELECT id FROM jobs") == []


def test_a_form_is_a_415_also_where_no_body_is_read(client: FlaskClient) -> None:
    for content_type in FORMS:
        problem(client.get("/api/v1/jobs", data=b"x", content_type=content_type), 415, "not_json")
        problem(client.post("/api/v1/absent", data=b"x", content_type=content_type), 404, "not_found")


# --- request ids


def test_every_answer_carries_an_id_of_its_own(client: FlaskClient) -> None:
    paths = ("/", "/healthz", "/api/v1/jobs", "/absent", "/api/v1/jobs?limit=x")
    ids = [client.get(path).headers["X-Request-Id"] for path in paths]

    assert all(re.fullmatch(r"[0-9a-f]{32}", request_id) for request_id in ids)
    assert len(set(ids)) == len(paths)


def test_an_id_that_the_client_gives_is_taken(client: FlaskClient) -> None:
    for given in ("1", "a.b_c-D", "x" * 64):
        assert client.get("/healthz", headers={"X-Request-Id": given}).headers.getlist("X-Request-Id") == [given]


def test_an_id_that_could_forge_a_line_or_a_header_is_not_taken(client: FlaskClient) -> None:
    for given in ("", " ", "a b", 'a"', "a,b", "x" * 65, "\u00e4", "a;b", "a\t"):
        [made] = client.get("/healthz", headers={"X-Request-Id": given}).headers.getlist("X-Request-Id")
        assert re.fullmatch(r"[0-9a-f]{32}", made)


# --- headers


def test_every_answer_has_the_security_headers(client: FlaskClient, guarded: FlaskClient) -> None:
    answers = [
        client.get("/"),
        client.get(re.findall(r'href="(/static/[^"]+)"', client.get("/").text)[0]),
        client.get("/healthz"),
        client.get("/api/v1/jobs"),
        client.post("/api/v1/jobs"),
        client.get("/absent"),
        client.get("/", headers={"Host": "evil.example"}),
        guarded.get("/api/v1/jobs"),
    ]
    assert {answer.status_code for answer in answers} == {200, 202, 400, 401, 404}

    for answer in answers:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_no_answer_of_the_api_is_kept_in_a_cache(client: FlaskClient) -> None:
    for path in ("/api/v1/jobs", "/healthz", "/absent"):
        assert client.get(path).headers["Cache-Control"] == "no-store"
