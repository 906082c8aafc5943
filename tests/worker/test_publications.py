"""Whoever moves a pointer or gives versions up takes the same lock: the second one sees what the first one did."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg2.extensions
import pytest
import sqlalchemy as sa

from etl import publish
from tests.conftest import InProcess
from tests.servers import wait_until
from worker import publications, tasks, versions
from worker.jobs import Job
from worker.publications import NotPublishable


def _roll_back_to(in_process: InProcess, job: Job) -> UUID | None:
    """What a PUT does; returns what was published until then."""
    with in_process.engine.begin() as connection:
        before = publications.lock(connection, job.dataset)
        publications.publish(connection, job.dataset, job.id)
    return before


def _waits(in_process: InProcess) -> bool:
    return bool(in_process.query("SELECT FROM pg_locks WHERE NOT granted"))


def test_a_version_that_was_rolled_back_to_in_the_same_moment_is_not_dropped(in_process: InProcess) -> None:
    old, _, newest = [in_process.run(force=True) for _ in range(3)]
    with ThreadPoolExecutor() as threads, in_process.engine.begin() as rolling_back:
        publications.lock(rolling_back, "default")
        threads.submit(versions.drop_old, in_process.engine, keep=1).result(20)
        publications.publish(rolling_back, "default", old.id)

    versions.drop_old(in_process.engine, keep=1)

    assert in_process.published() == old.id
    assert in_process.query("SELECT DISTINCT job_id FROM user_features") == [{"job_id": old.id}]
    kept = in_process.query("SELECT job_id FROM dataset_versions")
    assert {row["job_id"] for row in kept} == {old.id, newest.id}


def test_a_version_that_was_given_up_in_the_same_moment_is_not_rolled_back_to(in_process: InProcess) -> None:
    """The one who rolls back has come before the sweeper's commit, and waits for it."""
    old, newest = [in_process.run(force=True) for _ in range(2)]

    with ThreadPoolExecutor() as threads:
        with in_process.engine.begin() as giving_up:
            versions._give_up_old(giving_up, keep=1)
            rolling_back = threads.submit(_roll_back_to, in_process, old)
            wait_until(lambda: rolling_back.done() or _waits(in_process), "the rollback waits for the sweeper")
            assert not rolling_back.done()
        with pytest.raises(NotPublishable, match="no version of this job is kept"):
            rolling_back.result(30)

    assert in_process.published() == newest.id


def test_a_version_that_could_not_go_yet_is_given_up_for_good(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweeper has lost patience with a reader; the version may be half gone by now."""
    old, newest = [in_process.run(force=True) for _ in range(2)]
    monkeypatch.setattr(versions, "_PATIENCE_MS", 50)
    with in_process.engine.connect() as reader:
        reader.execute(sa.text("SELECT count(*) FROM user_features"))
        versions.drop_old(in_process.engine, keep=1)
        assert len(in_process.tables_of_versions()) == 2

    with pytest.raises(NotPublishable):
        _roll_back_to(in_process, old)

    assert in_process.published() == newest.id


def test_who_rolls_back_while_a_job_publishes_comes_after_it(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = in_process.run()
    job = in_process.submit(force=True)
    rollbacks: list[Any] = []

    with ThreadPoolExecutor() as threads:

        def publish_slowly(connection: psycopg2.extensions.connection, version: publish.Version) -> publish.Outcome:
            outcome = publish.publish(connection, version)
            rollbacks.append(threads.submit(_roll_back_to, in_process, old))
            wait_until(lambda: rollbacks[0].done() or _waits(in_process), "the rollback waits for the job")
            return outcome

        monkeypatch.setitem(tasks.PUBLICATIONS, "publish", publish_slowly)
        assert in_process.run_job(job).outcome == "published"

        # It has seen the new version, so If-Match with the tag of the old one would have failed.
        assert rollbacks[0].result(30) == job.id
    assert in_process.published() == old.id


def test_a_job_is_compared_with_what_somebody_publishes_in_the_same_moment(in_process: InProcess) -> None:
    whole = in_process.run()
    in_process.lose_users(left=5)
    part = in_process.run(max_rejected_ratio=1.0)
    _roll_back_to(in_process, part)
    job = in_process.submit(max_rejected_ratio=1.0, force=True)

    with ThreadPoolExecutor() as threads:
        with in_process.engine.begin() as rolling_back:
            publications.lock(rolling_back, "default")
            publications.publish(rolling_back, "default", whole.id)
            publishing = threads.submit(in_process.run_job, job)
            wait_until(lambda: publishing.done() or _waits(in_process), "the job waits for the rollback")
            assert not publishing.done()
        ended = publishing.result(30)

    assert (ended.outcome, ended.outcome_detail) == ("held", "9 of the 14 published users would be dropped")
    assert in_process.published() == whole.id


def test_a_job_is_submitted_while_somebody_holds_the_pointer(in_process: InProcess) -> None:
    in_process.run()
    with ThreadPoolExecutor() as threads, in_process.engine.begin() as connection:
        publications.lock(connection, "default")

        assert threads.submit(in_process.submit).result(10).state == "queued"
