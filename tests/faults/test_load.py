"""Many requests at once, many jobs in the queue, and a queue that is full."""

import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.case import Case
from tests.faults.clients import Ask, a_job, accepted, all_at_once, asking_steadily, in_turn
from tests.faults.figures import p99
from tests.faults.service import Service, log_lines
from tests.servers import wait_until

pytestmark = pytest.mark.faults

POST_P99_MAX_S = 1.0
STATUS_P99_MAX_MS = 20.0


def test_two_hundred_jobs_are_posted_at_once(case: Case) -> None:
    service = case.start()
    times = []
    for _ in range(case.times(short=2, long=3)):
        before = _rows(service)

        answers = all_at_once(service.parts["api"].url, [a_job() for _ in range(200)])

        assert Counter(answer.status for answer in answers) == {202: 200}
        assert len(set(accepted(service, answers))) == 200
        assert _rows(service) - before == 200
        times += [answer.seconds for answer in answers]
        case.recover()
    case.measured("p99 of a POST", p99(times), "s", goal=POST_P99_MAX_S)
    case.check()


@pytest.mark.timeout(7200)
def test_thousands_of_jobs_wait(case: Case) -> None:
    service = case.start(None, "--env", "MAX_QUEUED_JOBS=20000")
    url, jobs = service.parts["api"].url, case.times(short=500, long=10_000)
    with _held_worker(service):
        job_ids = accepted(service, in_turn(url, [a_job() for _ in range(jobs)]))
        assert len(job_ids) == jobs
        assert _in_state(service, "queued") == jobs

    asks = [Ask("GET", f"/api/v1/jobs/{job_id}") for job_id in random.sample(job_ids, 200)]
    with asking_steadily(url, asks, per_second=20) as answers:
        # Over the API, and not often: who asks from inside starts a process each time, on the service's own cores.
        while service.parts["api"].get("/api/v1/jobs?state=queued&limit=1")["items"]:
            time.sleep(1)

    case.recover()
    assert {answer.status for answer in answers} == {200}
    times_ms = [1000 * answer.seconds for answer in answers]
    case.measured("status of a job, median", statistics.median(times_ms), "ms")
    case.measured("status of a job, p99", p99(times_ms), "ms", goal=STATUS_P99_MAX_MS)
    case.measured("status of a job, how often asked", len(times_ms), "times")
    _assert_each_ended_once(service, set(job_ids))
    case.check()


def test_the_queue_is_full(case: Case) -> None:
    service = case.start(None, "--env", "MAX_QUEUED_JOBS=20")
    for _ in range(case.times(short=3, long=5)):
        before = _rows(service)
        with _held_worker(service):
            answers = all_at_once(service.parts["api"].url, [a_job(force=True) for _ in range(100)])

            assert Counter(answer.status for answer in answers) == {202: 20, 429: 80}
            refusals = [answer for answer in answers if answer.status == 429]
            assert {answer.body["code"] for answer in refusals} == {"queue_full"}
            assert all(int(answer.headers["Retry-After"]) > 0 for answer in refusals)
            accepted(service, answers)
            assert _rows(service) - before == _in_state(service, "queued") == 20
        case.recover()
    case.check()


def test_two_posts_have_the_same_key(case: Case) -> None:
    service = case.start()
    for run in range(case.times(short=2, long=3)):
        before, pairs = _rows(service), 100
        asks = [a_job(key=f"{run}-{number // 2}", force=False) for number in range(2 * pairs)]

        answers = all_at_once(service.parts["api"].url, asks)

        job_ids = accepted(service, answers)
        assert Counter(answer.status for answer in answers) == {202: 2 * pairs}
        assert job_ids[0::2] == job_ids[1::2]
        assert _rows(service) - before == len(set(job_ids)) == pairs

        others = all_at_once(service.parts["api"].url, [ask._replace(body={"force": True}) for ask in asks[::2]])
        assert {(answer.status, answer.body.get("code")) for answer in others} == {(422, "idempotency_conflict")}
        assert _rows(service) - before == pairs
        case.recover()
    case.check()


def test_two_posts_have_the_same_key_and_ask_for_different_things(case: Case) -> None:
    service = case.start()
    for run in range(case.times(short=2, long=3)):
        before, pairs = _rows(service), 100
        asks = [a_job(key=f"{run}-{number // 2}", force=number % 2 == 0) for number in range(2 * pairs)]

        answers = all_at_once(service.parts["api"].url, asks)

        accepted(service, answers)
        for of_one_key in zip(answers[0::2], answers[1::2], strict=True):
            assert sorted(answer.status for answer in of_one_key) == [202, 422]
        assert _rows(service) - before == pairs
        case.recover()
    case.check()


@contextmanager
def _held_worker(service: Service) -> Iterator[None]:
    """Nobody takes a job in here; what is accepted waits."""
    wait_until(lambda: _in_state(service, "running") == 0, "no job runs")
    service.signal("STOP", "worker")
    try:
        yield
    finally:
        service.signal("CONT", "worker")


def _assert_each_ended_once(service: Service, job_ids: set[str]) -> None:
    rows = service.rows("SELECT id, state, attempt FROM jobs")
    states = Counter((row["state"], row["attempt"]) for row in rows if row["id"] in job_ids)
    assert states == {("succeeded", 1): len(job_ids)}
    ends = Counter(line["job_id"] for line in log_lines(service, "worker") if line["message"].startswith("succeeded: "))
    assert {ends[job_id] for job_id in job_ids} == {1}


def _rows(service: Service) -> int:
    return int(service.psql("SELECT count(*) FROM jobs"))


def _in_state(service: Service, state: str) -> int:
    return int(service.psql(f"SELECT count(*) FROM jobs WHERE state = '{state}'"))  # noqa: S608
