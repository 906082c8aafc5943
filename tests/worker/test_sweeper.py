"""The sweeper: no job is lost with its message or its worker."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import redis
from celery import Celery

from tests.conftest import InProcess
from tests.servers import wait_until
from worker import jobs, queue, sweeper
from worker.job_log import JobLog
from worker.jobs import Job

LONG_UNRUNG = "UPDATE jobs SET rung_at = now() - interval '1 hour'"
EXPIRE = "UPDATE jobs SET lease_expires_at = now() - interval '1 second' WHERE id = :id"


@pytest.fixture
def broker(in_process: InProcess) -> Iterator["redis.Redis"]:
    with queue.client(in_process.settings) as connection:
        yield connection


@pytest.fixture
def app(in_process: InProcess) -> Celery:
    return queue.celery_app(in_process.settings)


def _rung(broker: "redis.Redis") -> list[UUID]:
    messages: list[Any] = broker.lrange(queue.QUEUE, 0, -1)
    return [UUID(json.loads(message)["headers"]["id"]) for message in messages]


def _lost_ring(in_process: InProcess, **wanted: Any) -> Job:
    """A job whose row is there, and whose message was lost long ago."""
    job = in_process.submit(**wanted)
    in_process.execute(LONG_UNRUNG)
    return job


def test_a_queued_job_whose_ring_was_lost_is_rung_again(
    in_process: InProcess, app: Celery, broker: "redis.Redis"
) -> None:
    job = _lost_ring(in_process)

    sweeper.sweep(in_process.engine, app, broker, in_process.settings, JobLog())

    assert _rung(broker) == [job.id]


def test_every_waiting_job_is_rung_again_after_redis_lost_everything(
    in_process: InProcess, app: Celery, broker: "redis.Redis"
) -> None:
    submitted = [in_process.submit(dataset=name) for name in ("a", "b", "c")]
    for job in submitted:
        queue.ring(app, job.id)
    broker.flushall()
    in_process.execute(LONG_UNRUNG)

    sweeper.sweep(in_process.engine, app, broker, in_process.settings, JobLog())

    assert set(_rung(broker)) == {job.id for job in submitted}


def test_a_job_that_was_just_rung_is_given_time(in_process: InProcess, app: Celery, broker: "redis.Redis") -> None:
    in_process.submit()

    sweeper.sweep(in_process.engine, app, broker, in_process.settings, JobLog())

    assert _rung(broker) == []


def test_messages_do_not_pile_up_while_some_wait(in_process: InProcess, app: Celery, broker: "redis.Redis") -> None:
    first, second = _lost_ring(in_process, dataset="a"), _lost_ring(in_process, dataset="b")
    for _ in range(3):
        sweeper.sweep(in_process.engine, app, broker, in_process.settings, JobLog())
        in_process.execute(LONG_UNRUNG)

    assert set(_rung(broker)) == {first.id, second.id}
    assert len(_rung(broker)) == 2


def test_a_sweep_rings_for_so_many_and_no_more(
    in_process: InProcess, app: Celery, broker: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "RING_MAX", 2)
    oldest = [in_process.submit(dataset=name) for name in ("a", "b", "c")][:2]
    in_process.execute(LONG_UNRUNG)

    sweeper.sweep(in_process.engine, app, broker, in_process.settings, JobLog())

    assert set(_rung(broker)) == {job.id for job in oldest}


def test_a_job_behind_a_running_one_is_not_rung(in_process: InProcess, app: Celery, broker: "redis.Redis") -> None:
    in_process.claim(in_process.submit())
    _lost_ring(in_process)

    sweeper.sweep(in_process.engine, app, broker, in_process.settings, JobLog())

    assert _rung(broker) == []


def test_a_job_whose_worker_went_silent_is_taken_back_and_rung_when_it_is_due(
    in_process: InProcess, app: Celery, broker: "redis.Redis"
) -> None:
    job = in_process.claim(in_process.submit())
    in_process.execute(EXPIRE, id=job.id)

    sweeper.sweep(in_process.engine, app, broker, in_process.settings, JobLog())

    assert (in_process.job(job).state, _rung(broker)) == ("queued", [])
    in_process.execute("UPDATE jobs SET due_at = now()")

    sweeper.sweep(in_process.engine, app, broker, in_process.settings, JobLog())

    assert _rung(broker) == [job.id]


def test_expired_leases_are_taken_back_also_while_redis_is_away(in_process: InProcess) -> None:
    job = in_process.claim(in_process.submit())
    in_process.execute(EXPIRE, id=job.id)
    dead = replace(in_process.settings, redis_url="unix:///nonexistent/redis.sock?db=0")

    with queue.client(dead) as broker, pytest.raises(queue.Unreachable):
        sweeper.sweep(in_process.engine, queue.celery_app(dead), broker, in_process.settings, JobLog())

    assert in_process.job(job).state == "queued"


def test_two_sweepers_ring_once(in_process: InProcess, app: Celery, broker: "redis.Redis") -> None:
    job = _lost_ring(in_process)
    sweeper.sweep(in_process.engine, app, broker, in_process.settings, JobLog())
    broker.delete(queue.QUEUE)  # a worker has taken the message; the other sweeper comes now

    sweeper.sweep(in_process.engine, app, broker, in_process.settings, JobLog())

    assert _rung(broker) == []
    assert in_process.job(job).state == "queued"


def test_an_attempt_that_lost_its_job_is_ended_also_where_no_other_job_is_left(
    in_process: InProcess, app: Celery, broker: "redis.Redis"
) -> None:
    job = in_process.claim(in_process.submit())
    with in_process.engine.connect() as hanging:
        jobs.sign(hanging, job)
        with in_process.engine.begin() as connection:
            jobs.cancel(connection, job.id)

        sweeper.sweep(in_process.engine, app, broker, in_process.settings, JobLog())

        query = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'job %' AND datname = current_database()"
        wait_until(lambda: not in_process.query(query), "its transaction is ended", seconds=10)
        hanging.invalidate()


def test_an_attempt_did_not_take_as_long_as_the_whole_service_was_away(
    in_process: InProcess, app: Celery, broker: "redis.Redis"
) -> None:
    job = in_process.claim(in_process.submit())
    in_process.execute(
        "UPDATE jobs SET started_at = now() - interval '1 day', lease_expires_at = now() - interval '23 hours'"
        " WHERE id = :id",
        id=job.id,
    )

    sweeper.sweep(in_process.engine, app, broker, in_process.settings, JobLog())

    shown = in_process.job(job)
    assert (shown.state, shown.error_code) == ("queued", None)


def test_a_database_that_no_worker_has_upgraded_yet_is_left_alone(
    in_process: InProcess, app: Celery, broker: "redis.Redis"
) -> None:
    _lost_ring(in_process)
    in_process.execute("UPDATE alembic_version SET version_num = '0003'")

    sweeper.sweep(in_process.engine, app, broker, in_process.settings, JobLog())

    assert _rung(broker) == []
