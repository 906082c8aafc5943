"""GET /metrics, read as Prometheus reads it."""

from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from urllib.error import HTTPError
from urllib.request import urlopen
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import DEAD_DATABASE, DEAD_REDIS, ClientWith, problem
from tests.conftest import InProcess, Programs
from tests.servers import wait_until
from worker import jobs, presence, queue, sweeper, versions

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, "no number is there twice"
            found[key] = sample.value
    return found


def read(client: FlaskClient) -> Samples:
    response = client.get("/metrics")
    assert (response.status_code, response.mimetype) == (200, "text/plain")
    return parsed(response.get_data(as_text=True))


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"experiment_etl_{name}", frozenset(labels.items())]


@pytest.fixture
def history(in_process: InProcess) -> InProcess:
    """A job that has rejected a line, one that found nothing new, one that failed, and one that waits."""
    users = in_process.settings.data_dir / "users.csv"
    with users.open("a") as file:
        file.write("\n15,\tOlga,\tolga@example.com,\tsoon")
    in_process.run()
    in_process.run()
    users.unlink()
    in_process.run()
    queue.ring(in_process.runner.app, in_process.submit().id)
    in_process.execute("UPDATE jobs SET created_at = created_at - interval '1 hour' WHERE state = 'queued'")
    return in_process


def test_the_ledger_is_told_in_numbers(client: FlaskClient, history: InProcess) -> None:
    with history.engine.begin() as connection:
        presence.beat(connection, "w")

    samples = read(client)

    assert of(samples, "jobs", state="queued") == 1
    assert of(samples, "jobs", state="running") == 0
    assert 3600 <= of(samples, "queue_age_seconds") < 3700
    assert of(samples, "queue_messages") == 1
    assert of(samples, "jobs_ended_total", state="succeeded", outcome="published", error="") == 1
    assert of(samples, "jobs_ended_total", state="succeeded", outcome="unchanged", error="") == 1
    assert of(samples, "jobs_ended_total", state="failed", outcome="", error="missing_file") == 1
    lines = {what: of(samples, "lines_total", outcome=what) for what in ("read", "accepted", "duplicate", "rejected")}
    assert lines == {"read": 64, "accepted": 63, "duplicate": 0, "rejected": 1}, "once, also where nothing was new"
    assert of(samples, "rejections_total", code="invalid_date") == 1
    assert of(samples, "workers") == 1
    assert of(samples, "up", component="database") == 1
    assert [value for (name, _), value in samples.items() if name == "experiment_etl_build_info"] == [1]


def test_stages_are_a_histogram(client: FlaskClient, history: InProcess) -> None:
    history.execute("""UPDATE jobs SET timings_ms = '{"load": 50, "publish": 60000000}' WHERE outcome = 'published'""")
    history.execute("""UPDATE jobs SET timings_ms = '{"load": 51}' WHERE outcome = 'unchanged'""")

    samples = read(client)

    assert of(samples, "stage_seconds_count", stage="load") == 2
    assert of(samples, "stage_seconds_sum", stage="load") == pytest.approx(0.101)
    buckets = [of(samples, "stage_seconds_bucket", stage="load", le=le) for le in ("0.025", "0.05", "0.1", "+Inf")]
    assert buckets == [0, 1, 2, 2]
    assert of(samples, "stage_seconds_bucket", stage="publish", le="1800.0") == 0
    assert of(samples, "stage_seconds_bucket", stage="publish", le="+Inf") == 1


def _ledger(samples: Samples) -> Samples:
    """What must not depend on who is asked, and when."""
    return {
        key: value
        for key, value in samples.items()
        if "request" not in key[0] and not key[0].endswith(("age_seconds", "_created"))
    }


def test_no_number_changes_when_jobs_are_counted_and_versions_dropped(
    client: FlaskClient, client_with: ClientWith, history: InProcess
) -> None:
    # As binary fractions, what 0.1, 0.2 and 0.3 come to depends on their order, and a counter that loses its last digit
    # looks like one that was set back.
    history.execute("""
        UPDATE jobs SET timings_ms = timings_ms || jsonb_build_object('load', 0.1 * number)
        FROM (SELECT id, row_number() OVER (ORDER BY id) AS number FROM jobs WHERE finished_at IS NOT NULL) AS ended
        WHERE jobs.id = ended.id
    """)
    before = _ledger(read(client))

    with history.engine.begin() as connection:
        jobs.count(connection, limit=1)
    assert _ledger(read(client)) == before, "one of them is counted"
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(sweeper.keep_house, history.engine, history.settings) for _ in range(4)]:
            done.result(30)
    assert _ledger(read(client)) == before, "all of them, and none twice"
    assert history.query("SELECT id FROM jobs WHERE finished_at IS NOT NULL AND NOT counted") == []

    versions.drop_old(history.engine, keep=1)
    history.execute("DELETE FROM rejections")
    history.execute("DELETE FROM job_log")
    assert _ledger(read(client_with())) == before, "also after a restart"


def test_a_request_is_counted_by_what_was_asked_and_how_it_ended(client: FlaskClient) -> None:
    for path in ("/api/v1/jobs", "/api/v1/jobs", "/api/v1/jobs?limit=x", "/absent", "/other"):
        client.get(path)
    client.open("/absent", method="BREW")

    samples = read(client)

    def count(endpoint: str, method: str, status: str) -> float:
        return of(samples, "request_seconds_count", endpoint=endpoint, method=method, status=status)

    assert count("jobs.newest", "GET", "2xx") == 2
    assert count("jobs.newest", "GET", "4xx") == 1
    assert count("", "", "4xx") == 3, "and what a stranger asks for is no label"


def test_without_the_database_and_redis_the_rest_is_told(client_with: ClientWith) -> None:
    client = client_with(database_url=DEAD_DATABASE, redis_url=DEAD_REDIS)
    assert client.get("/api/v1/jobs").status_code == 503

    samples = read(client)

    assert of(samples, "up", component="database") == 0
    assert of(samples, "up", component="queue") == 0
    assert of(samples, "request_seconds_count", endpoint="jobs.newest", method="GET", status="5xx") == 1


def test_the_token_is_wanted(client_with: ClientWith) -> None:
    token = uuid4().hex
    client = client_with(api_token=token)

    problem(client.get("/metrics"), 401, "token_required")
    assert client.get("/metrics", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_both_processes_of_the_server_tell_of_all_requests(programs: Programs) -> None:
    requests, answers = 60, 3

    with programs.api() as served:

        def ask(_: int) -> int:
            try:
                return int(urlopen(f"{served.url}/api/v1/summary", timeout=30).status)
            except HTTPError as error:
                return error.code

        counting = programs.settings.state_dir / "metrics"
        wait_until(
            lambda: urlopen(f"{served.url}/healthz", timeout=30) and len(list(counting.glob("*.db"))) == 2,
            "each has had a request",
        )
        with ThreadPoolExecutor(20) as threads:
            assert set(threads.map(ask, range(requests))) == {HTTPStatus.NOT_FOUND}
        for _ in range(answers):
            samples = parsed(urlopen(f"{served.url}/metrics", timeout=30).read().decode())
            labels = {"endpoint": "features.summary", "method": "GET", "status": "4xx"}
            assert of(samples, "request_seconds_count", **labels) == requests
            assert of(samples, "request_seconds_bucket", le="+Inf", **labels) == requests
