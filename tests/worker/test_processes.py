"""Real worker and sweeper processes: what becomes of a job when one of them dies.

A job is held in the middle without touching the code: the test locks the table that publication must alter, so the job
stays in its stage `publish`, rows loaded and nothing committed, for as long as the test likes.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from celery import Celery
from flask.testing import FlaskClient

from tests.conftest import InProcess, Programs
from tests.servers import wait_until
from worker import presence, queue
from worker.jobs import Job

LONG_UNRUNG = "UPDATE jobs SET rung_at = now() - interval '1 hour'"
# 30 s of silence would be the same: the sweeper compares this with the database's clock.
EXPIRE = "UPDATE jobs SET lease_expires_at = now() - interval '1 second' WHERE id = :id AND state = 'running'"


@pytest.fixture
def app(in_process: InProcess) -> Celery:
    return queue.celery_app(in_process.settings)


@contextmanager
def _publication_held_up(in_process: InProcess) -> Iterator[None]:
    """Nobody can publish in here; reading goes on."""
    with in_process.engine.begin() as connection:
        connection.execute(sa.text("LOCK TABLE user_feature_versions IN SHARE UPDATE EXCLUSIVE MODE"))
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
    assert messages == ["attempt 1 on dataset default", "succeeded: published"]
    assert {line["program"] for line in lines} == {"worker"}


def test_a_job_whose_ring_is_lost_and_then_its_process_is_finished_by_another_attempt(
    in_process: InProcess, programs: Programs
) -> None:
    """Nobody rang: the sweeper finds the row. Then the process that runs the job is killed."""
    job = in_process.submit()
    in_process.execute(LONG_UNRUNG)
    with programs.worker() as worker, programs.sweeper():
        with _publication_held_up(in_process):
            _wait_for_stage(in_process, job, "publish")
            [child] = _children(worker)
            os.kill(child, signal.SIGKILL)
            wait_until(lambda: _children(worker) not in ([child], []), "the worker has a new child")
            assert in_process.job(job).state == "running"
            in_process.execute(EXPIRE, id=job.id)
            _wait_for(in_process, job, "running", attempt=2)
        done = _wait_for(in_process, job, "succeeded", attempt=2)

    assert done.outcome == "published"
    _assert_published_once(in_process, done)


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
        in_process.execute(EXPIRE, id=job.id)
        with programs.worker():
            done = _wait_for(in_process, job, "succeeded", attempt=2)

    _assert_published_once(in_process, done)


def _write_large_dataset(directory: Path, experiments: int = 300_000) -> None:
    """Enough for the engine to be at work for a while."""
    users = "".join(f"{user},u{user},u{user}@example.com,2024-01-01\n" for user in range(1, 10_001))
    lines = "".join(f"{number},{1 + number % 10_000},1;2;3,1.5\n" for number in range(1, experiments + 1))
    (directory / "users.csv").write_text("user_id,name,email,signup_date\n" + users)
    (directory / "user_experiments.csv").write_text(
        "experiment_id,user_id,experiment_compound_ids,experiment_run_time\n" + lines
    )


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
