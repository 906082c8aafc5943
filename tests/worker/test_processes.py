"""Real worker and sweeper processes: what becomes of a job when one of them dies.

A job is held in the middle without touching the code: the test locks the table that publication writes, so the job
stays in its stage `publish`, rows loaded and nothing published, for as long as the test likes.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from celery import Celery
from flask.testing import FlaskClient

from tests import servers
from tests.bench.generate import generate
from tests.conftest import InProcess, Programs
from tests.servers import wait_until
from worker import jobs, presence, queue, spill, sweeper, versions
from worker.jobs import Job

LONG_UNRUNG = "UPDATE jobs SET rung_at = now() - interval '1 hour'"

# What an attempt waits for in a stage while somebody holds this; readers do not wait.
LOCKS = {
    "load": "LOCK TABLE user_feature_versions IN SHARE UPDATE EXCLUSIVE MODE",
    "publish": "LOCK TABLE dataset_versions IN SHARE MODE",
}


@pytest.fixture
def app(in_process: InProcess) -> Celery:
    return queue.celery_app(in_process.settings)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "revision 9999"),
        # Somebody's own view, in the way of one that has other columns now.
        (
            "DROP VIEW user_features; CREATE VIEW user_features AS SELECT 1 AS one;"
            " CREATE VIEW mine AS SELECT * FROM user_features",
            "view mine depends on view user_features",
        ),
    ],
)
def test_a_worker_that_cannot_bring_the_database_up_to_date_ends(
    statement: str, told: str, in_process: InProcess, programs: Programs, capfd: pytest.CaptureFixture[str]
) -> None:
    in_process.execute(statement)

    with programs.worker() as worker:
        status = worker.wait(60)

    assert status != 0
    [line] = [json.loads(line) for line in capfd.readouterr().out.splitlines() if "brought up to date" in line]
    assert (line["level"], told in line["message"]) == ("CRITICAL", True), line


@contextmanager
def _publication_held_up(in_process: InProcess) -> Iterator[None]:
    """Nobody can publish in here; reading goes on."""
    with in_process.engine.begin() as connection:
        connection.execute(sa.text(LOCKS["publish"]))
        yield


def _submit(in_process: InProcess, app: Celery) -> Job:
    job = in_process.submit()
    queue.ring(app, job.id)
    return job


def _wait_for(in_process: InProcess, job: Job, state: str, *, attempt: int) -> Job:
    def there() -> bool:
        now = in_process.job(job)
        return (now.state, now.attempt) == (state, attempt)

    wait_until(there, f"the job is {state} in attempt {attempt}")
    return in_process.job(job)


def _wait_for_stage(in_process: InProcess, job: Job, stage: str) -> None:
    wait_until(lambda: in_process.job(job).stage == stage, f"the job is in its stage {stage}")


def _children(process: subprocess.Popen[bytes]) -> list[int]:
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(number) for number in text.split()]


def _assert_published_once(in_process: InProcess, job: Job) -> None:
    assert in_process.published() == job.id
    assert in_process.query("SELECT job_id FROM dataset_versions") == [{"job_id": job.id}]
    assert in_process.query("SELECT count(*) AS count FROM user_features") == [{"count": 14}]
    assert in_process.tables_of_versions() == {f"user_feature_versions_{job.id.hex}"}


def test_a_job_goes_from_the_post_to_the_published_features(
    programs: Programs, client: FlaskClient, capfd: pytest.CaptureFixture[str]
) -> None:
    """The whole way, with nothing in this process but the API; the worker's lines about the job have its id."""
    with programs.worker() as worker:
        wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is ready")
        posted = client.post("/api/v1/jobs")
        assert posted.status_code == 202

        shown = client.get(posted.location + "?wait=30").get_json()

        assert (shown["state"], shown["outcome"]) == ("succeeded", "published")
        assert shown["id"] == posted.get_json()["id"]
        page = client.get("/api/v1/features").get_json()["items"]
        assert len(page) == 14
        assert {row["job_id"] for row in page} == {shown["id"]}
        assert len(_children(worker)) == 1

    # Celery prints a banner, and a word when it is told to stop.
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    messages = [line["message"] for line in lines if line.get("job_id") == shown["id"]]
    assert messages[0].startswith("claimed: attempt 1 of 3, by ")
    assert messages[-1].startswith("published default in ")
    kept = client.get(f"/api/v1/jobs/{shown['id']}/log").get_json()["items"]
    assert [line["message"] for line in kept] == messages
    assert {line["program"] for line in lines} == {"worker"}


def test_a_worker_whose_redis_was_away_when_its_job_ended_takes_the_next_one(
    in_process: InProcess, server_directory: Path
) -> None:
    directory = server_directory / uuid4().hex
    directory.mkdir()
    first = in_process.submit()
    with ExitStack() as stack:
        held = stack.enter_context(ExitStack())
        held.enter_context(_publication_held_up(in_process))
        with servers.redis(directory) as url:
            programs = Programs(replace(in_process.settings, redis_url=url))
            stack.enter_context(programs.worker())
            stack.enter_context(programs.sweeper())
            in_process.execute(LONG_UNRUNG)
            _wait_for_stage(in_process, first, "publish")
        held.close()
        _wait_for(in_process, first, "succeeded", attempt=1)
        time.sleep(1)  # until the worker's parent has heard of it, and has lost its connection

        with servers.redis(directory):
            second = in_process.submit(force=True)
            _wait_for(in_process, second, "succeeded", attempt=1)


def test_a_job_whose_ring_is_lost_and_then_its_process_is_finished_by_another_attempt(
    in_process: InProcess, programs: Programs
) -> None:
    """Nobody rang: the sweeper finds the row. Then the process that runs the job is killed, and its parent notices."""
    job = in_process.submit()
    in_process.execute(LONG_UNRUNG)
    with programs.worker() as worker, programs.sweeper():
        with _publication_held_up(in_process):
            _wait_for_stage(in_process, job, "publish")
            [child] = _children(worker)
            os.kill(child, signal.SIGKILL)
            _wait_for(in_process, job, "running", attempt=2)
            assert child not in _children(worker)
        done = _wait_for(in_process, job, "succeeded", attempt=2)

    assert done.outcome == "published"
    _assert_published_once(in_process, done)


def test_a_process_that_is_killed_three_times_fails_its_job(
    in_process: InProcess, programs: Programs, app: Celery
) -> None:
    with programs.worker() as worker, programs.sweeper(), _publication_held_up(in_process):
        job = _submit(in_process, app)
        for attempt in (1, 2, 3):
            _wait_for(in_process, job, "running", attempt=attempt)
            _wait_for_stage(in_process, job, "publish")
            os.kill(_children(worker)[0], signal.SIGKILL)
        done = _wait_for(in_process, job, "failed", attempt=3)

    assert done.error_code == "worker_lost"
    assert in_process.published() is None
    versions.drop_old(in_process.engine, keep=5)
    assert in_process.tables_of_versions() == set()


def test_a_job_whose_worker_is_killed_is_finished_by_another_worker(
    in_process: InProcess, programs: Programs, app: Celery
) -> None:
    """The whole process group at once, as by the kernel when memory runs out: nobody can tidy up."""
    with programs.sweeper(), programs.worker() as worker:
        job = _submit(in_process, app)
        with _publication_held_up(in_process):
            _wait_for_stage(in_process, job, "publish")
            for pid in (worker.pid, *_children(worker)):
                os.kill(pid, signal.SIGKILL)
            worker.wait(10)
        # Long before the lease would expire: the sessions of the worker are gone.
        wait_until(lambda: in_process.job(job).state == "queued", "the job waits again", seconds=jobs.LEASE_S - 5)
        with programs.worker():
            done = _wait_for(in_process, job, "succeeded", attempt=2)

    _assert_published_once(in_process, done)


def test_what_a_killed_worker_has_left_on_disk_is_removed(
    in_process: InProcess, programs: Programs, app: Celery
) -> None:
    with programs.worker() as worker:
        job = _submit(in_process, app)
        with _publication_held_up(in_process):
            _wait_for_stage(in_process, job, "publish")
            assert spill.remove_abandoned(in_process.settings.spill_dir) == [], "a directory in use was removed"
            for pid in (worker.pid, *_children(worker)):
                os.kill(pid, signal.SIGKILL)
            worker.wait(10)
    assert len(_spilling(in_process)) == 1

    def is_removed() -> bool:
        sweeper.keep_house(in_process.engine, in_process.settings)
        return not _spilling(in_process)

    wait_until(is_removed, "it is removed", seconds=10)


def _spilling(in_process: InProcess) -> set[Path]:
    """The directories of open engines; a worker without a job has one that is ready for the next."""
    return set(in_process.settings.spill_dir.iterdir())


def _write_large_dataset(directory: Path) -> None:
    """Enough lines for the engine to be at work for a while."""
    generate(directory, experiments=2_000_000, users=20_000, compounds=500, shuffled=True, seed=1)


@contextmanager
def _held_in(in_process: InProcess, stage: str) -> Iterator[None]:
    """Give the engine much to do; Postgres is made to wait in the two last stages."""
    if stage not in LOCKS:
        _write_large_dataset(in_process.settings.data_dir)
    with in_process.engine.begin() as connection:
        connection.execute(sa.text(LOCKS.get(stage, "SELECT 1")))
        yield


@pytest.mark.parametrize("stage", ["extract", "validate", "derive", "load", "publish"])
def test_a_running_job_that_is_cancelled_stops_in_every_stage(
    in_process: InProcess, programs: Programs, client: FlaskClient, stage: str
) -> None:
    """What the engine or Postgres computes just then is interrupted: nothing of it goes on after the answer."""
    with programs.worker(), _held_in(in_process, stage):
        job = client.post("/api/v1/jobs").get_json()
        wait_until(lambda: client.get(job["links"]["self"]).get_json()["stage"] == stage, f"stage {stage}", seconds=60)
        in_use = _spilling(in_process)

        assert client.post(job["links"]["cancel"]).get_json()["state"] == "cancelled"

        # Half a second on a machine that does nothing else; never as long as the stage would still take.
        wait_until(lambda: _transactions_of_jobs(in_process) == 0, "the attempt has ended", seconds=10)
        wait_until(lambda: not in_use & _spilling(in_process), "the engine is closed", seconds=10)

    assert client.get(job["links"]["self"]).get_json()["state"] == "cancelled"
    assert in_process.published() is None


def _transactions_of_jobs(in_process: InProcess) -> int:
    query = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'job %' AND datname = current_database()"
    return len(in_process.query(query))


def test_a_job_over_its_time_is_stopped(in_process: InProcess, programs: Programs, app: Celery) -> None:
    with programs.worker(), programs.sweeper(JOB_TIME_LIMIT="3s"):
        with _publication_held_up(in_process):
            job = _submit(in_process, app)
            _wait_for_stage(in_process, job, "publish")
            done = _wait_for(in_process, job, "failed", attempt=1)
            wait_until(lambda: _transactions_of_jobs(in_process) == 0, "the attempt has ended")
        assert (done.error_code, done.error_detail) == (
            "time_limit",
            "the attempt took longer than 3 s (JOB_TIME_LIMIT)",
        )
        assert in_process.published() is None


@pytest.mark.parametrize("stage", ["validate", "publish"])
def test_a_worker_that_is_stopped_puts_its_job_back_at_once(
    in_process: InProcess, programs: Programs, app: Celery, stage: str
) -> None:
    """SIGTERM is what the supervisor sends, while the engine computes or while Postgres is waited for."""
    _write_large_dataset(in_process.settings.data_dir)
    with programs.worker() as worker:
        job = _submit(in_process, app)
        with _publication_held_up(in_process):
            _wait_for_stage(in_process, job, stage)
            worker.send_signal(signal.SIGTERM)
            worker.wait(10)
            stopped, workers = in_process.job(job), _present(in_process)

    assert (stopped.state, stopped.attempt, stopped.error_code) == ("queued", 1, None)
    assert workers == 0, "a worker that has gone still counts as present"
    in_process.execute("UPDATE jobs SET due_at = now()")
    assert in_process.run_job(job).outcome == "published"


def _present(in_process: InProcess) -> int:
    with in_process.engine.connect() as connection:
        return presence.count(connection)


def test_a_sweeper_stops_when_it_is_told_to(programs: Programs, capfd: pytest.CaptureFixture[str]) -> None:
    with programs.sweeper() as sweeper:
        wait_until(lambda: "sweeping" in capfd.readouterr().out, "the sweeper is at work")
        sweeper.send_signal(signal.SIGTERM)

        assert sweeper.wait(10) == 0


def test_a_worker_that_could_not_warm_up_runs_jobs_as_soon_as_it_can(
    in_process: InProcess, programs: Programs, app: Celery
) -> None:
    in_process.settings.spill_dir.parent.mkdir(parents=True, exist_ok=True)
    in_process.settings.spill_dir.touch()  # where a directory should be

    with programs.worker():
        wait_until(lambda: in_process.query("SELECT FROM worker_heartbeats"), "the worker is heard of")
        in_process.settings.spill_dir.unlink()
        job = _submit(in_process, app)

        wait_until(lambda: in_process.job(job).state == "succeeded", "the job has succeeded")
