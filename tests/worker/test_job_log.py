"""A job's log: what was logged about it, kept with what came of it."""

import logging
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from tests.conftest import InProcess
from tests.servers import wait_until
from worker import database, job_log, jobs, lease, logs, queue, sweeper, versions
from worker.job_log import JobLog, Line
from worker.jobs import Job, LeaseLost
from worker.lease import Lease

log = logging.getLogger("worker.test")


@pytest.fixture(autouse=True)
def collected(in_process: InProcess) -> Iterator[JobLog]:
    """What the worker's process does: all that it logs is collected."""
    handler, root = in_process.runner.job_log, logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


def lines(in_process: InProcess, job: Job) -> list[Line]:
    with in_process.engine.connect() as connection:
        return job_log.lines(connection, job.id)


def told(in_process: InProcess, job: Job) -> list[str]:
    """The messages, without how long anything took and who did it."""
    return [re.sub(r" in [0-9.e-]+ ms|, by .*", "", line.message) for line in lines(in_process, job)]


def write(in_process: InProcess, collected: JobLog) -> None:
    with in_process.engine.begin() as connection:
        collected.write(connection)


def test_the_lines_tell_the_story_of_a_job(in_process: InProcess) -> None:
    with (in_process.settings.data_dir / "users.csv").open("a") as users:
        users.write("\n15,\tOlga,\tolga@example.com,\tsoon")

    job = in_process.run()

    assert told(in_process, job) == [
        "claimed: attempt 1 of 3",
        "extract: 1777 bytes",
        "validate: 65 lines",
        "derive: 65 lines",
        "load: 14 rows",
        "publish: 1 rows",
        "users.csv: 15 lines read: 14 accepted, 0 duplicate, 1 rejected, invalid_date 1",
        "compounds.csv: 12 lines read: 12 accepted, 0 duplicate, 0 rejected",
        "user_experiments.csv: 37 lines read: 37 accepted, 0 duplicate, 0 rejected",
        "published default",
    ]
    assert job.created_at < lines(in_process, job)[0].at
    assert sorted(lines(in_process, job), key=lambda line: line.at) == lines(in_process, job)


def test_a_job_that_fails_says_why(in_process: InProcess) -> None:
    (in_process.settings.data_dir / "users.csv").unlink()

    job = in_process.run()

    last = lines(in_process, job)[-1]
    assert (last.level, last.message) == ("WARNING", f"failed: missing_file: {job.error_detail}")


def test_a_traceback_and_what_it_says_are_the_operators(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("hidden")

    monkeypatch.setattr("etl.pipeline.run", fail)

    job = in_process.run()

    last = lines(in_process, job)[-1]
    assert (last.level, last.message) == ("ERROR", f"failed: internal error; the log has it with job_id {job.id}")
    assert "hidden" in caplog.text


def test_no_secret_is_kept(in_process: InProcess, collected: JobLog) -> None:
    job = in_process.submit()
    with logs.about(job_id=str(job.id)):
        log.warning(
            "no answer of %s, nor of %s", "redis://:pass@host:6379/0", "sc://host:15002/;token=pass;use_ssl=true"
        )
    write(in_process, collected)

    assert told(in_process, job) == [
        "no answer of redis://***@host:6379/0, nor of sc://host:15002/;token=***;use_ssl=true"
    ]


def test_what_a_library_says_and_what_is_about_no_job_is_not_kept(in_process: InProcess, collected: JobLog) -> None:
    job = in_process.submit()
    log.warning("about no job")
    with logs.about(job_id=str(job.id)):
        logging.getLogger("celery.worker").warning("by a library")
        log.info("kept")
    write(in_process, collected)

    assert told(in_process, job) == ["kept"]
    assert in_process.query("SELECT count(*) AS lines FROM job_log") == [{"lines": 1}]


def test_lines_are_there_while_the_job_runs(in_process: InProcess, collected: JobLog) -> None:
    job = in_process.claim(in_process.submit())
    with Lease(in_process.engine, job, collected) as running, logs.about(job_id=str(job.id)), running.stage("extract"):
        log.info("early")
        wait_until(lambda: "early" in told(in_process, job), "the heartbeat has written it")


def test_lines_wait_for_a_database_that_is_away(
    in_process: InProcess, collected: JobLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.3)
    job = in_process.claim(in_process.submit())
    away = database.engine(replace(in_process.settings, database_url="postgresql://etl@/x?host=/nonexistent"))
    with Lease(away, job, collected), logs.about(job_id=str(job.id)):
        log.info("first")
        wait_until(lambda: any("could not be renewed" in line[3] for line in collected._lines), "it was tried")
    away.dispose()

    write(in_process, collected)

    assert told(in_process, job)[0] == "first"


def test_a_job_that_says_much_does_not_fill_the_disk(in_process: InProcess, collected: JobLog) -> None:
    job, other = in_process.submit(), in_process.submit()
    for _ in range(5):
        with logs.about(job_id=str(job.id)):
            for number in range(job_log.WAITING_MAX + 10):
                log.info("%d %s", number, "x" * 2000)
        write(in_process, collected)
    log.info("other", extra={"job_id": str(other.id)})
    write(in_process, collected)

    assert job_log.LINES_MAX <= len(lines(in_process, job)) < job_log.LINES_MAX + job_log.WAITING_MAX
    assert {len(line.message) for line in lines(in_process, job)} == {job_log.CHARS_MAX}
    assert lines(in_process, job)[0].message.startswith("10 "), "of those that wait the oldest go first"
    assert told(in_process, other) == ["other"]


def test_what_the_sweeper_does_to_a_job_is_told(in_process: InProcess, collected: JobLog) -> None:
    settings = replace(in_process.settings, job_time_limit_s=3600)
    lost, overdue = in_process.claim(in_process.submit()), in_process.claim(in_process.submit(dataset="second"))
    in_process.execute("UPDATE jobs SET lease_expires_at = now() - interval '1 s' WHERE id = :id", id=lost.id)
    in_process.execute("UPDATE jobs SET started_at = now() - interval '2 h' WHERE id = :id", id=overdue.id)

    with queue.client(settings) as broker:
        sweeper.sweep(in_process.engine, in_process.runner.app, broker, settings, collected)

    assert told(in_process, lost) == ["attempt 1 has ended: the worker stopped responding; the job waits again"]
    assert told(in_process, overdue) == ["failed: it took longer than JOB_TIME_LIMIT"]


def test_an_end_that_could_not_be_written_down_is_not_told(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_process.run()
    in_process.lose_users(left=5)

    def lose(*_: object, **__: object) -> None:
        raise LeaseLost

    monkeypatch.setattr(jobs, "succeed", lose)

    job = in_process.run(max_rejected_ratio=1.0)

    assert told(in_process, job)[-2:] == ["publish: 18 rows", "attempt 1 has lost its lease; it changed nothing"]


def test_a_last_attempt_that_is_lost_is_told_as_the_end(in_process: InProcess, collected: JobLog) -> None:
    job = in_process.submit()
    in_process.execute("UPDATE jobs SET attempt = 2")
    in_process.claim(job, "w")
    with in_process.engine.begin() as connection:
        jobs.release(connection, "w")
        collected.write(connection)

    assert told(in_process, job) == [
        "attempt 3 has ended: the worker was stopped; it was the last, so the job has failed"
    ]


def test_a_log_goes_with_its_version(in_process: InProcess) -> None:
    old, published = in_process.run(), in_process.run(force=True)

    versions.drop_old(in_process.engine, keep=1)

    assert lines(in_process, old) == []
    assert lines(in_process, published)


def test_the_logs_of_jobs_without_a_version_go_but_for_the_newest_of_each_end(in_process: InProcess) -> None:
    in_process.run()
    unchanged = [in_process.run() for _ in range(2)]
    (in_process.settings.data_dir / "users.csv").unlink()
    failed = [in_process.run() for _ in range(2)]
    running = in_process.claim(in_process.submit())
    log.info("at work", extra={"job_id": str(running.id)})
    write(in_process, in_process.runner.job_log)

    versions.drop_old(in_process.engine, keep=1)

    kept = {row["job_id"] for row in in_process.query("SELECT DISTINCT job_id FROM job_log")}
    assert {unchanged[0].id, failed[0].id}.isdisjoint(kept)
    assert {unchanged[1].id, failed[1].id, running.id} < kept


def test_a_log_that_cannot_be_written_does_not_fail_the_job(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        job_log, "_WRITE", sa.text("SELECT 1 / 0 + length(:job_ids || :ages_s || :levels || :messages)")
    )

    assert in_process.run().outcome == "published"


def test_lines_that_could_not_be_written_wait_and_of_them_the_newest(
    in_process: InProcess, collected: JobLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = in_process.submit()
    about = {"job_id": str(job.id)}
    for number in range(job_log.WAITING_MAX):
        log.info("%d", number, extra=about)

    def fail(*_: object) -> None:
        """Meanwhile the job goes on."""
        log.info("meanwhile", extra=about)
        raise sa.exc.OperationalError("INSERT", {}, Exception("away"))

    with in_process.engine.begin() as connection, monkeypatch.context() as patched:
        patched.setattr(sa.Connection, "execute", fail)
        with pytest.raises(sa.exc.OperationalError):
            collected.write(connection)
    write(in_process, collected)

    assert sorted(told(in_process, job)) == sorted(
        [*(str(number) for number in range(1, job_log.WAITING_MAX)), "meanwhile"]
    )
