"""The lease: what a running job tells, and how it learns that it is no longer its own."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from tests.conftest import InProcess
from tests.servers import wait_until
from worker import database, jobs, lease
from worker.job_log import JobLog
from worker.jobs import Job, LeaseLost
from worker.lease import Lease

EXPIRE = "UPDATE jobs SET lease_expires_at = now() - interval '1 second' WHERE id = :id"


@pytest.fixture
def job(in_process: InProcess) -> Job:
    return in_process.claim(in_process.submit())


@pytest.fixture
def dead_engine(in_process: InProcess) -> Iterator[sa.Engine]:
    """A database that does not answer."""
    engine = database.engine(replace(in_process.settings, database_url="postgresql://etl@/x?host=/nonexistent"))
    yield engine
    engine.dispose()


def _is_held(in_process: InProcess, job: Job) -> bool:
    [row] = in_process.query("SELECT lease_expires_at > now() AS held FROM jobs WHERE id = :id", id=job.id)
    return bool(row["held"])


def _raises_lease_lost(running: Lease) -> bool:
    try:
        with running.stage("load"):
            return False
    except LeaseLost:
        return True


def test_a_lease_is_renewed_although_there_is_no_news(
    in_process: InProcess, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.3)
    in_process.execute(EXPIRE, id=job.id)

    with Lease(in_process.engine, job, JobLog()):
        wait_until(lambda: _is_held(in_process, job), "the lease is renewed")
        in_process.execute(EXPIRE, id=job.id)
        wait_until(lambda: _is_held(in_process, job), "the lease is renewed again")


def test_a_lease_is_renewed_several_times_before_it_can_expire() -> None:
    assert lease.RENEW_S * 3 <= jobs.LEASE_S


def test_stage_and_progress_are_visible_while_the_job_runs(in_process: InProcess, job: Job) -> None:
    with Lease(in_process.engine, job, JobLog()) as running, running.stage("extract") as progress:
        wait_until(lambda: in_process.job(job).stage == "extract", "the stage is visible")
        progress(5, 10, "bytes")
        wait_until(lambda: in_process.job(job).progress_done == 5, "the progress is visible")
        shown = in_process.job(job)
        assert (shown.stage, shown.progress_total, shown.progress_unit) == ("extract", 10, "bytes")


def test_a_new_stage_begins_without_the_progress_of_the_one_before(in_process: InProcess, job: Job) -> None:
    with Lease(in_process.engine, job, JobLog()) as running:
        with running.stage("extract") as progress:
            progress(10, 10, "bytes")
            wait_until(lambda: in_process.job(job).progress_done == 10, "the progress is visible")
        with running.stage("load"):
            wait_until(lambda: in_process.job(job).stage == "load", "the next stage is visible")
            assert in_process.job(job).progress_unit is None


def test_each_stage_is_timed_also_one_that_fails(in_process: InProcess, job: Job) -> None:
    with Lease(in_process.engine, job, JobLog()) as running:
        with running.stage("extract"):
            pass
        with pytest.raises(ZeroDivisionError), running.stage("validate"):
            raise ZeroDivisionError

    assert list(running.timings_ms) == ["extract", "validate"]
    assert all(milliseconds >= 0 for milliseconds in running.timings_ms.values())


def test_an_attempt_that_lost_its_job_enters_no_further_stage(in_process: InProcess, job: Job) -> None:
    with Lease(in_process.engine, job, JobLog()) as running:
        in_process.execute("UPDATE jobs SET attempt = 2 WHERE id = :id", id=job.id)

        with running.stage("extract"):  # the news of the stage is when the lease is found to be lost
            wait_until(lambda: _raises_lease_lost(running), "the lease is found to be lost")


def test_a_lease_that_ended_is_not_renewed_any_more(in_process: InProcess, job: Job) -> None:
    with Lease(in_process.engine, job, JobLog()) as running, running.stage("extract"):
        wait_until(lambda: in_process.job(job).stage == "extract", "the lease is at work")

    # __exit__ has waited for the thread, so nothing can write any more.
    assert not running._thread.is_alive()


def test_a_lease_that_cannot_be_renewed_is_not_lost(
    job: Job, dead_engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it is, only the database knows; the fence decides in the end."""
    with Lease(dead_engine, job, JobLog()) as running:
        with running.stage("extract"):
            wait_until(lambda: "the lease could not be renewed" in caplog.text, "the renewal was tried")
        assert not _raises_lease_lost(running)
