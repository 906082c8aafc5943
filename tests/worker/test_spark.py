"""Jobs on a real Spark cluster, and what becomes of them where there is none."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread
from typing import Any

import pytest
from flask.testing import FlaskClient
from pyspark.errors.exceptions.connect import PythonException

from tests.bench.generate import generate
from tests.conftest import InProcess, Programs
from tests.servers import wait_until
from tests.spark import Cluster
from worker import jobs, queue
from worker.jobs import Job
from worker.tasks import Runner


def _with(in_process: InProcess, remote: str | None) -> InProcess:
    settings = replace(in_process.settings, spark_remote=remote)
    return replace(in_process, settings=settings, runner=replace(in_process.runner, settings=settings))


@pytest.fixture
def on_spark(in_process: InProcess, spark: Cluster) -> InProcess:
    return _with(in_process, spark.remote)


def _published(in_process: InProcess) -> list[dict[str, Any]]:
    rows = in_process.query("SELECT * FROM user_features ORDER BY user_id")
    return [{name: row[name] for name in row if name not in ("job_id", "computed_at")} for row in rows]


def _left_behind(in_process: InProcess) -> list[str]:
    return [str(path) for path in in_process.settings.spill_dir.rglob("*")]


@contextmanager
def _running(in_process: InProcess, job: Job) -> Iterator[Thread]:
    thread = Thread(target=in_process.runner.run_job, args=[str(job.id)])
    thread.start()
    try:
        yield thread
    finally:
        thread.join()


@pytest.mark.spark
@pytest.mark.timeout(900)
def test_a_job_on_spark_publishes_what_one_on_duckdb_does(on_spark: InProcess) -> None:
    with (on_spark.settings.data_dir / "users.csv").open("a") as file:
        file.write("\n99,,nobody@example.com,2024-01-01\n")

    job = on_spark.run(engine="spark")
    features, rejections = _published(on_spark), on_spark.query("SELECT line, code, value FROM rejections")
    again = on_spark.run(engine="duckdb", force=True)

    assert (job.state, job.outcome, job.reconciled) == ("succeeded", "published", True)
    assert job.inputs == again.inputs
    assert features == _published(on_spark)
    assert rejections == [{"line": 17, "code": "missing_value", "value": None}]
    assert _left_behind(on_spark) == []


@pytest.mark.spark
@pytest.mark.timeout(900)
def test_a_worker_process_runs_a_job_on_spark(
    on_spark: InProcess, programs: Programs, spark: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARK_REMOTE", spark.remote)
    job = on_spark.submit(engine="spark")
    queue.ring(on_spark.runner.app, job.id)

    with programs.worker():
        wait_until(lambda: on_spark.job(job).is_final, "the job has ended", seconds=300)

    assert on_spark.job(job).outcome == "published"


@pytest.mark.spark
@pytest.mark.timeout(900)
def test_a_job_survives_the_death_of_a_spark_worker(on_spark: InProcess, spark: Cluster) -> None:
    generate(on_spark.settings.data_dir, experiments=300_000, users=5000, compounds=500, shuffled=True, seed=1)
    job = on_spark.submit(engine="spark")

    with _running(on_spark, job):
        wait_until(lambda: on_spark.job(job).stage == "validate", "the job validates", seconds=300)
        spark.kill_worker()
    spark.add_worker()
    features = _published(on_spark)
    on_spark.run(engine="duckdb", force=True)

    ended = on_spark.job(job)
    assert (ended.state, ended.outcome, ended.attempt) == ("succeeded", "published", 1)
    assert features == _published(on_spark)


@pytest.mark.spark
@pytest.mark.timeout(900)
@pytest.mark.parametrize("stage", ["extract", "validate", "derive"])
def test_a_job_that_is_cancelled_leaves_nothing_on_the_cluster(stage: str, on_spark: InProcess) -> None:
    generate(on_spark.settings.data_dir, experiments=300_000, users=5000, compounds=500, shuffled=True, seed=1)
    job = on_spark.submit(engine="spark")

    with _running(on_spark, job) as thread:
        wait_until(lambda: on_spark.job(job).stage == stage, f"the job is at {stage}", seconds=300)
        with on_spark.engine.begin() as connection:
            jobs.cancel(connection, job.id)
        thread.join(60)
        assert not thread.is_alive()

    assert on_spark.job(job).state == "cancelled"
    assert _left_behind(on_spark) == []


@pytest.mark.spark
@pytest.mark.timeout(900)
def test_a_job_is_cancelled_although_the_server_does_not_answer(on_spark: InProcess, spark: Cluster) -> None:
    generate(on_spark.settings.data_dir, experiments=300_000, users=5000, compounds=500, shuffled=True, seed=1)
    job = on_spark.submit(engine="spark")

    with _running(on_spark, job) as thread:
        wait_until(lambda: on_spark.job(job).stage == "validate", "the job validates", seconds=300)
        spark.server.send_signal(signal.SIGSTOP)
        try:
            with on_spark.engine.begin() as connection:
                jobs.cancel(connection, job.id)
            thread.join(30)
            assert not thread.is_alive()
        finally:
            spark.server.send_signal(signal.SIGCONT)

    assert on_spark.job(job).state == "cancelled"
    assert on_spark.run().outcome == "published", "and the embedded engine works on"


# --- where there is no cluster


def test_a_cluster_that_does_not_answer_fails_the_job_in_the_end(
    in_process: InProcess, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # PySpark takes a main program without a file, such as that of pytest-xdist, for its own doctests, and exits.
    monkeypatch.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)
    without = _with(in_process, "sc://127.0.0.1:9")
    job = without.submit(engine="spark")

    for _ in range(jobs.ATTEMPTS_MAX):
        assert without.job(job).state == "queued"
        without.execute("UPDATE jobs SET due_at = now()")
        without.run_job(job)

    answer = client.get(f"/api/v1/jobs/{job.id}").get_json()
    assert (answer["state"], answer["error"]["code"]) == ("failed", "engine_unavailable")
    assert "no Spark Connect server answers at 127.0.0.1:9" in answer["error"]["detail"]
    assert without.run().outcome == "published", "and the embedded engine works on"


def test_a_worker_without_a_cluster_fails_the_job(in_process: InProcess) -> None:
    job = in_process.run(engine="spark")

    assert (job.state, job.error_code, job.attempt) == ("failed", "engine_unavailable", 1)
    assert job.error_detail == "this worker knows no Spark cluster: SPARK_REMOTE is not set"


def test_a_worker_without_the_client_fails_the_job(in_process: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "etl.spark", None)

    job = _with(in_process, "sc://127.0.0.1:9").run(engine="spark")

    assert (job.state, job.error_code, job.attempt) == ("failed", "engine_unavailable", 1)
    assert job.error_detail is not None
    assert job.error_detail.startswith("this worker has no client for Spark (requirements-spark.txt)")


def test_a_worker_whose_cluster_is_away_starts_all_the_same(in_process: InProcess) -> None:
    settings = replace(in_process.settings, etl_engine="spark", spark_remote="sc://127.0.0.1:9")

    Runner(settings, in_process.engine, in_process.runner.app, worker="test").warm_up()


@pytest.mark.parametrize("missing", ["ModuleNotFoundError: No module named 'pyarrow'", "ImportError: no numpy"])
def test_an_executor_without_what_it_must_have_is_no_fault_of_the_query(missing: str) -> None:
    from etl.spark import _is_of_the_cluster, _sentence

    error = PythonException(f"Job aborted.\n{missing}\n\tat org.apache.spark.Task.run\n" + "\tat java.Thread\n" * 99)

    assert _is_of_the_cluster(error)
    assert _sentence(error) == f"Job aborted. {missing}"
    assert not _is_of_the_cluster(PythonException("Job aborted.\nKeyError: 'a defect of the program'"))
