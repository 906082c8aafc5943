"""ETL_SCHEDULE: each time comes once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.conftest import InProcess
from worker import jobs, queue, schedule, sweeper
from worker.job_log import JobLog
from worker.jobs import Job, Request
from worker.schedule import NoRoom

EVERY_MINUTE = "* * * * *"
REQUEST = Request("default", "publish", "duckdb", force=False, max_rejected_ratio=0.1)
AN_HOUR_AGO = "UPDATE schedule SET fired_for = now() - interval '1 hour'"


def fire(in_process: InProcess, expression: str = EVERY_MINUTE, *, max_queued_jobs: int = 1000) -> Job | None:
    with in_process.engine.begin() as connection:
        return schedule.fire(connection, expression, REQUEST, max_queued_jobs=max_queued_jobs)


@pytest.fixture
def due(in_process: InProcess) -> InProcess:
    """The schedule was seen an hour ago, and nobody has looked since."""
    fire(in_process)
    in_process.execute(AN_HOUR_AGO)
    return in_process


def test_a_schedule_begins_to_count_when_it_is_seen_first(in_process: InProcess) -> None:
    assert fire(in_process, "0 0 1 1 *") is None
    assert fire(in_process, "0 0 1 1 *") is None


def test_times_that_passed_come_to_one_job(due: InProcess) -> None:
    job = fire(due)

    assert job is not None
    assert (job.dataset, job.mode, job.state) == ("default", "publish", "queued")
    assert fire(due) is None or datetime.now(UTC).second < 2, "unless the next minute has begun"


def test_a_time_that_has_not_come_fires_nothing(due: InProcess) -> None:
    due.execute("UPDATE schedule SET expression = '0 0 29 2 *'")

    assert fire(due, "0 0 29 2 *") is None


def test_of_many_who_look_at_once_one_submits_the_job(due: InProcess) -> None:
    due.execute("UPDATE schedule SET expression = '0 * * * *', fired_for = fired_for - interval '1 hour'")

    with ThreadPoolExecutor(8) as threads:
        fired = list(threads.map(lambda _: fire(due, "0 * * * *"), range(32)))

    assert len([job for job in fired if job]) == 1
    assert due.query("SELECT count(*) AS jobs FROM jobs") == [{"jobs": 1}]


def test_another_schedule_begins_anew(due: InProcess) -> None:
    assert fire(due, "*/2 * * * *") is None


def test_a_time_that_finds_the_queue_full_comes_when_there_is_room(due: InProcess) -> None:
    waiting = due.submit(dataset="another")
    with pytest.raises(NoRoom):
        fire(due, max_queued_jobs=1)
    with due.engine.begin() as connection:
        jobs.cancel(connection, waiting.id)

    assert fire(due, max_queued_jobs=1) is not None


def test_the_sweeper_rings_for_it(due: InProcess) -> None:
    settings = replace(due.settings, etl_schedule=EVERY_MINUTE)
    with queue.client(settings) as broker:
        sweeper.sweep(due.engine, queue.celery_app(settings), broker, settings, JobLog())

        assert broker.llen(queue.QUEUE) == 1
    assert due.query("SELECT state FROM jobs") == [{"state": "queued"}]


def test_a_full_queue_is_told_of_once_for_each_time(due: InProcess, caplog: pytest.LogCaptureFixture) -> None:
    yearly = "0 0 1 1 *"
    settings = replace(due.settings, etl_schedule=yearly, max_queued_jobs=1)
    due.submit(dataset="another")
    told = []

    with queue.client(settings) as broker:
        for expression in (yearly, EVERY_MINUTE):
            settings = replace(settings, etl_schedule=expression)
            due.execute("UPDATE schedule SET expression = :expression", expression=expression)
            due.execute("UPDATE schedule SET fired_for = now() - interval '2 years'")
            for _ in range(3):
                sweeper.sweep(due.engine, queue.celery_app(settings), broker, settings, JobLog())
            told.append(caplog.text.count("waits for room in the queue"))

    assert told[0] == 1
    assert 2 <= told[1] <= 3, "once more, or twice where a minute ends meanwhile"


@pytest.mark.parametrize(
    ("now", "newest"),
    [
        ("2026-02-28T03:00:00.000001", "2026-02-28T03:00:00"),
        ("2026-02-28T03:00:00", "2026-02-27T03:00:00"),
        ("2026-03-01T02:59:59.9", "2026-02-28T03:00:00"),
    ],
)
def test_the_newest_time_is_the_last_that_has_come(now: str, newest: str) -> None:
    looked = datetime.fromisoformat(now).replace(tzinfo=UTC)

    assert schedule.newest("0 3 * * *", looked) == datetime.fromisoformat(newest).replace(tzinfo=UTC)
