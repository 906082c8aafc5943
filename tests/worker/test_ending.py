"""Jobs that end before their end: cancelled, over their time, or because their worker is gone."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from tests.conftest import InProcess
from tests.servers import wait_until
from worker import database, jobs
from worker.jobs import AlreadyFinished, Job, LeaseLost, UnknownJob

AGE = "UPDATE jobs SET started_at = started_at - interval '1 minute' WHERE id = :id"
# As long ago as a worker that is alive never lets it become.
NOT_RENEWED = "UPDATE jobs SET lease_expires_at = lease_expires_at - make_interval(secs => :seconds) WHERE id = :id"


def _cancel(in_process: InProcess, job: Job) -> Job:
    with in_process.engine.begin() as connection:
        return jobs.cancel(connection, job.id)


def _end_overdue(in_process: InProcess, limit_s: float) -> list[object]:
    with in_process.engine.begin() as connection:
        return [*jobs.end_overdue(connection, limit_s)]


def _take_back(in_process: InProcess) -> list[object]:
    with in_process.engine.begin() as connection:
        return [*jobs.take_back_lost(connection)]


@contextmanager
def _transaction_of(in_process: InProcess, job: Job) -> Iterator[sa.Connection]:
    """The transaction of an attempt that hangs in it."""
    with in_process.engine.connect() as connection:
        jobs.sign(connection, job)
        yield connection
        connection.invalidate()


def _is_open(in_process: InProcess, job: Job) -> bool:
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = :name AND datname = current_database()"
    return bool(in_process.query(query, name=f"job {job.id} attempt {job.attempt}"))


def _end_abandoned(in_process: InProcess) -> None:
    with in_process.engine.begin() as connection:
        jobs.end_abandoned(connection)


def test_a_job_goes_back_also_while_its_version_is_being_entered(in_process: InProcess) -> None:
    """The entry refers to the job, and so holds a lock on its row."""
    job = in_process.claim(in_process.submit(), worker="w")
    entry = "INSERT INTO dataset_versions (job_id, dataset, fingerprint) VALUES (:id, 'default', 'x')"

    with in_process.engine.connect() as entering:
        entering.execute(sa.text(entry), {"id": job.id})
        with in_process.engine.begin() as connection:
            assert jobs.release(connection, "w") == [job.id]


def test_an_attempt_that_lost_its_job_can_sign_nothing(in_process: InProcess) -> None:
    """With the name of the next attempt it would never be ended."""
    old = in_process.claim(in_process.submit())
    in_process.execute("UPDATE jobs SET attempt = 2")

    with in_process.engine.connect() as connection, pytest.raises(LeaseLost):
        jobs.sign(connection, old)


def test_a_queued_job_is_cancelled_and_never_claimed(in_process: InProcess) -> None:
    job = in_process.submit()

    cancelled = _cancel(in_process, job)

    assert cancelled.state == "cancelled"
    assert cancelled.finished_at
    with in_process.engine.begin() as connection:
        assert jobs.claim(connection, job.id, "w") is None


def test_a_running_job_is_cancelled_and_its_attempt_can_finish_nothing(in_process: InProcess) -> None:
    job = in_process.claim(in_process.submit())

    assert _cancel(in_process, job).state == "cancelled"

    with in_process.engine.begin() as connection:
        assert not jobs.renew(connection, job, None, None)
        with pytest.raises(LeaseLost):
            jobs.succeed(connection, job, "published", [], {})


def test_after_a_cancelled_job_the_next_one_of_its_dataset_may_run(in_process: InProcess) -> None:
    job, next_job = in_process.claim(in_process.submit()), in_process.submit()
    _cancel(in_process, job)

    assert in_process.claim(next_job).state == "running"


def test_what_has_ended_cannot_be_cancelled(in_process: InProcess) -> None:
    with pytest.raises(AlreadyFinished, match="succeeded"):
        _cancel(in_process, in_process.run())


def test_nobody_cancels_a_job_that_there_is_not(in_process: InProcess) -> None:
    with pytest.raises(UnknownJob), in_process.engine.begin() as connection:
        jobs.cancel(connection, in_process.submit().id.__class__(int=0))


def test_an_attempt_over_its_time_fails_and_one_within_does_not(in_process: InProcess) -> None:
    old, young = in_process.claim(in_process.submit()), in_process.claim(in_process.submit(dataset="second"))
    in_process.execute(AGE, id=old.id)

    assert _end_overdue(in_process, 30) == [old.id]

    assert (in_process.job(old).state, in_process.job(old).error_code) == ("failed", "time_limit")
    assert in_process.job(young).state == "running"


def test_time_in_the_queue_does_not_count(in_process: InProcess) -> None:
    job = in_process.submit()
    in_process.execute("UPDATE jobs SET created_at = created_at - interval '1 day'")
    in_process.claim(job)

    assert _end_overdue(in_process, 30) == []


def test_a_job_whose_workers_session_is_gone_is_taken_back_before_its_lease_expires(in_process: InProcess) -> None:
    other = database.engine(in_process.settings)
    job = in_process.submit()
    with other.begin() as connection:
        claimed = jobs.claim(connection, job.id, "w")
    assert claimed
    in_process.execute(NOT_RENEWED, id=job.id, seconds=jobs.GONE_S + 1)
    assert _take_back(in_process) == [], "the worker is only slow"

    other.dispose()
    wait_until(lambda: _take_back(in_process) == [job.id], "the job waits again", seconds=10)

    assert in_process.job(job).state == "queued"


def test_a_worker_that_connects_anew_keeps_its_job(in_process: InProcess) -> None:
    """Its session was ended from outside; it has renewed the lease over another one."""
    first, second = database.engine(in_process.settings), database.engine(in_process.settings)
    job = in_process.submit()
    with first.begin() as connection:
        claimed = jobs.claim(connection, job.id, "w")
    assert claimed
    first.dispose()
    with second.begin() as connection:
        assert jobs.renew(connection, claimed, None, None)
    in_process.execute(NOT_RENEWED, id=job.id, seconds=jobs.GONE_S + 1)

    assert _take_back(in_process) == []
    second.dispose()


def test_a_session_that_has_only_the_same_number_is_another_one(in_process: InProcess) -> None:
    job = in_process.claim(in_process.submit())
    in_process.execute("UPDATE jobs SET lease_session = split_part(lease_session, ' ', 1) || ' since 1'")
    in_process.execute(NOT_RENEWED, id=job.id, seconds=jobs.GONE_S + 1)

    assert _take_back(in_process) == [job.id]


def test_a_job_that_is_being_finished_is_left_alone_and_waited_for_by_nobody(in_process: InProcess) -> None:
    """The attempt hangs between its last statement and the commit, with the row locked."""
    job = in_process.claim(in_process.submit())
    in_process.execute(AGE, id=job.id)
    in_process.execute(NOT_RENEWED, id=job.id, seconds=jobs.LEASE_S + 1)
    with _transaction_of(in_process, job) as connection:
        jobs.succeed(connection, job, "published", [], {})

        assert _end_overdue(in_process, 30) == []
        assert _take_back(in_process) == []

        _end_abandoned(in_process)
        wait_until(lambda: _take_back(in_process) == [job.id], "the job waits again", seconds=10)


def test_the_transaction_of_an_attempt_whose_job_was_cancelled_is_ended(in_process: InProcess) -> None:
    job = in_process.claim(in_process.submit())
    with _transaction_of(in_process, job):
        _end_abandoned(in_process)
        assert _is_open(in_process, job)

        _cancel(in_process, job)
        _end_abandoned(in_process)

        wait_until(lambda: not _is_open(in_process, job), "the transaction is ended", seconds=10)
