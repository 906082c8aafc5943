"""The task, called directly: the real pipeline on the sample, the real ledger, the real publication."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID

import psycopg2
import pytest
import redis
import sqlalchemy as sa
import uuid6
from psycopg2.extensions import connection as Connection  # noqa: N812 - psycopg2 writes its class in lower case

from etl import account, features, load, pipeline, publish
from etl.embedded import DuckDB
from etl.engines import Engine
from etl.errors import Transient
from etl.extract import extract
from etl.load import OnRows
from etl.progress import Progress
from tests.conftest import SAMPLE, InProcess
from tests.servers import wait_until
from worker import jobs, queue, tasks, versions
from worker.jobs import Job, LeaseLost
from worker.tasks import Runner

USERS_IN_SAMPLE = 14


def _append(path: Path, line: str) -> None:
    """The sample's files end without a line feed."""
    with path.open("a") as file:
        file.write("\n" + line)


def _rung(in_process: InProcess) -> list[str]:
    """The ids in the messages that lie in the queue."""
    with redis.Redis.from_url(in_process.settings.redis_url) as connection:
        messages: list[Any] = connection.lrange(queue.QUEUE, 0, -1)
    return [json.loads(message)["headers"]["id"] for message in messages]


def _make_due(in_process: InProcess) -> None:
    in_process.execute("UPDATE jobs SET due_at = now()")


# --- a job that succeeds


def test_a_job_publishes_the_features_of_its_dataset(in_process: InProcess) -> None:
    job = in_process.run()

    assert (job.state, job.outcome, job.attempt, job.reconciled) == ("succeeded", "published", 1, True)
    assert in_process.published() == job.id
    assert len(in_process.query("SELECT user_id FROM user_features WHERE job_id = :id", id=job.id)) == USERS_IN_SAMPLE
    [summary] = in_process.query("SELECT * FROM experiment_summary")
    assert (summary["dataset"], summary["job_id"]) == ("default", job.id)
    assert (summary["total_users"], summary["total_experiments"]) == (USERS_IN_SAMPLE, 37)


def test_a_job_accounts_for_every_file_and_times_every_stage(in_process: InProcess) -> None:
    job = in_process.run()

    assert [file["file"] for file in job.inputs] == ["users.csv", "compounds.csv", "user_experiments.csv"]
    users = job.inputs[0]
    assert (users["read"], users["accepted"], users["duplicate"], users["rejected"]) == (14, 14, 0, 0)
    assert users["bytes"] == (SAMPLE / "users.csv").stat().st_size
    assert len(users["sha256"]) == 64
    assert set(job.timings_ms) == {"queued", "extract", "validate", "derive", "load", "publish"}


def test_each_dataset_has_its_own_publication(in_process: InProcess) -> None:
    shutil.copytree(SAMPLE, in_process.settings.data_dir / "second")

    first, second = in_process.run(), in_process.run(dataset="second")

    assert (in_process.published(), in_process.published("second")) == (first.id, second.id)
    assert len(in_process.query("SELECT user_id FROM user_features")) == 2 * USERS_IN_SAMPLE


def test_a_job_is_done_once_however_often_it_is_rung(in_process: InProcess) -> None:
    job = in_process.run()

    again = in_process.run_job(job)

    assert again == job
    assert in_process.tables_of_versions() == {f"user_feature_versions_{job.id.hex}"}


def test_a_ring_for_a_job_that_nobody_knows_does_nothing(in_process: InProcess) -> None:
    in_process.runner.run_job(str(uuid6.uuid7()))

    assert in_process.query("SELECT id FROM jobs") == []


def test_the_stage_is_visible_before_the_job_commits(in_process: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    job = in_process.submit()

    def changed_load(engine: Engine, connection: Connection, job_id: UUID, on_rows: OnRows) -> None:
        load.load(engine, connection, job_id, on_rows)
        wait_until(lambda: in_process.job(job).stage == "load", "the stage is visible")

    monkeypatch.setattr(pipeline, "load", changed_load)

    assert in_process.run_job(job).state == "succeeded"


# --- unchanged


def test_a_job_on_the_same_files_ends_unchanged(in_process: InProcess) -> None:
    first = in_process.run()

    second = in_process.run()

    assert (second.state, second.outcome, second.reconciled) == ("succeeded", "unchanged", True)
    assert second.inputs == first.inputs
    assert second.outcome_detail == f"job {first.id} made the published version from these files"
    assert set(second.timings_ms) == {"queued", "compare"}
    assert in_process.published() == first.id
    assert in_process.query("SELECT job_id FROM dataset_versions") == [{"job_id": first.id}]


def test_the_pointer_stands_still_while_a_job_ends_unchanged(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the job could show the inputs of another version than the one that it was compared with."""
    in_process.run()
    publisher = jobs.publisher

    def move(connection: sa.Connection, dataset: str) -> Job:
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
            in_process.execute("SET LOCAL lock_timeout = 50; UPDATE datasets SET published_job_id = NULL")
        return publisher(connection, dataset)

    monkeypatch.setattr(jobs, "publisher", move)

    assert in_process.run().outcome == "unchanged"


def test_a_forced_job_publishes_the_same_files_again(in_process: InProcess) -> None:
    in_process.run()

    second = in_process.run(force=True)

    assert second.outcome == "published"
    assert in_process.published() == second.id


@pytest.mark.parametrize("file", ["users.csv", "compounds.csv", "user_experiments.csv"])
def test_a_file_that_changed_is_published_anew(in_process: InProcess, file: str) -> None:
    in_process.run()
    _append(in_process.settings.data_dir / file, "")  # a blank line: other bytes, the same rows

    second = in_process.run()

    assert second.outcome == "published"
    assert in_process.published() == second.id


def test_another_pipeline_publishes_the_same_files_anew(in_process: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    in_process.run()
    monkeypatch.setattr(pipeline, "version", lambda: "another")

    assert in_process.run().outcome == "published"


def test_the_same_files_in_another_dataset_are_published(in_process: InProcess) -> None:
    in_process.run()
    shutil.copytree(SAMPLE, in_process.settings.data_dir / "second")

    assert in_process.run(dataset="second").outcome == "published"


def test_files_that_were_published_before_the_last_version_are_published_anew(in_process: InProcess) -> None:
    in_process.run()
    users = in_process.settings.data_dir / "users.csv"
    original = users.read_bytes()
    _append(users, "15,\tOlga,\tolga@example.com,\t2024-01-01")
    in_process.run()
    users.write_bytes(original)

    assert in_process.run().outcome == "published"


# --- dry runs


def test_a_dry_run_publishes_nothing(in_process: InProcess) -> None:
    job = in_process.run(mode="dry_run")

    assert (job.state, job.outcome, job.reconciled) == ("succeeded", "dry_run", True)
    assert in_process.published() is None
    assert in_process.query("SELECT * FROM user_features") == in_process.query("SELECT * FROM experiment_summary") == []


def test_a_dry_run_leaves_the_published_version(in_process: InProcess) -> None:
    published = in_process.run()

    job = in_process.run(mode="dry_run")

    assert job.outcome == "dry_run"
    assert in_process.published() == published.id
    assert in_process.query("SELECT DISTINCT job_id FROM user_features") == [{"job_id": published.id}]


def test_a_dry_run_keeps_its_version(in_process: InProcess) -> None:
    job = in_process.run(mode="dry_run")

    assert in_process.query("SELECT job_id, dataset, outcome FROM dataset_versions") == [
        {"job_id": job.id, "dataset": "default", "outcome": "dry_run"}
    ]
    rows = in_process.query("SELECT user_id FROM user_feature_versions WHERE job_id = :id", id=job.id)
    assert len(rows) == USERS_IN_SAMPLE


def test_a_dry_run_of_the_same_files_does_not_make_a_job_unchanged(in_process: InProcess) -> None:
    """What nobody published is no reason to publish nothing."""
    in_process.run(mode="dry_run")

    assert in_process.run().outcome == "published"


def test_a_dry_run_keeps_its_rejections_and_its_account(in_process: InProcess) -> None:
    _append(in_process.settings.data_dir / "users.csv", "15,\tOlga,\tolga@example.com,\tsoon")

    job = in_process.run(mode="dry_run")

    [rejection] = in_process.query('SELECT job_id, file, line, "column", code, value FROM rejections')
    assert rejection == {
        "job_id": job.id,
        "file": "users.csv",
        "line": 17,
        "column": "signup_date",
        "code": "invalid_date",
        "value": "soon",
    }
    assert (job.inputs[0]["read"], job.inputs[0]["rejected"]) == (15, 1)


# --- held


def _hold(in_process: InProcess, **wanted: Any) -> Job:
    """Publish the sample, then run on files that have lost 9 of its 14 users."""
    in_process.run()
    in_process.lose_users(left=5)
    return in_process.run(max_rejected_ratio=1.0, **wanted)


def test_a_job_that_would_drop_most_users_succeeds_and_is_held(in_process: InProcess) -> None:
    job = _hold(in_process)

    assert (job.state, job.outcome, job.reconciled) == ("succeeded", "held", True)
    assert job.outcome_detail == "9 of the 14 published users would be dropped"


@pytest.mark.parametrize("force", [False, True])
def test_the_views_go_on_showing_the_published_version_while_one_is_held(in_process: InProcess, force: bool) -> None:
    """`force` is about files that have not changed; it must not be a way around a person who looks."""

    def seen() -> list[dict[str, Any]]:
        features = in_process.query("SELECT * FROM user_features ORDER BY user_id")
        return features + in_process.query("SELECT * FROM experiment_summary")

    published = in_process.run()
    before = seen()

    job = _hold(in_process, force=force)

    assert job.outcome == "held"
    assert in_process.published() == published.id
    assert seen() == before


def test_the_files_of_a_held_version_are_no_unchanged_ones(in_process: InProcess) -> None:
    _hold(in_process)

    assert in_process.run(max_rejected_ratio=1.0).outcome == "held"


def test_a_dry_run_is_never_held(in_process: InProcess) -> None:
    job = _hold(in_process, mode="dry_run")

    assert (job.outcome, job.outcome_detail) == ("dry_run", None)


# --- a job that fails


def test_a_job_with_too_many_rejections_keeps_the_account_and_the_first_thousand(in_process: InProcess) -> None:
    published = in_process.run()
    _append(in_process.settings.data_dir / "users.csv", "\n".join(f"{n},\tn,\te,\tsoon" for n in range(1500)))

    job = in_process.run()

    assert (job.state, job.error_code, job.reconciled) == ("failed", "too_many_rejections", None)
    assert job.error_detail == "users.csv: 1500 of 1514 lines rejected; allowed is a share of 0.1"
    assert [(of["file"], of["rejected"], of["codes"]) for of in job.inputs] == [
        ("users.csv", 1500, {"invalid_date": 1500}),
        ("compounds.csv", 0, {}),
        ("user_experiments.csv", 0, {}),
    ]
    kept = in_process.query("SELECT line FROM rejections WHERE job_id = :id ORDER BY id", id=job.id)
    assert [row["line"] for row in kept] == list(range(17, 1017))
    assert in_process.published() == published.id


def test_an_attempt_that_lost_its_lease_keeps_no_rejections(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "fail", lambda *_arguments: False)
    _append(in_process.settings.data_dir / "users.csv", "15,\tOlga,\tolga@example.com,\tsoon")

    in_process.run(max_rejected_ratio=0)

    assert in_process.query("SELECT line FROM rejections") == []


def test_a_job_that_allows_less_than_the_published_one_lists_what_it_refuses(in_process: InProcess) -> None:
    _append(in_process.settings.data_dir / "users.csv", "15,\tOlga,\tolga@example.com,\tsoon")
    in_process.run()

    job = in_process.run(max_rejected_ratio=0)

    assert job.error_code == "too_many_rejections"
    assert in_process.query("SELECT line FROM rejections WHERE job_id = :id", id=job.id) == [{"line": 17}]


def test_a_file_beyond_the_limit_fails_the_job(in_process: InProcess) -> None:
    runner = replace(in_process.runner, settings=replace(in_process.settings, max_file_bytes=500))

    runner.run_job(str((job := in_process.submit()).id))

    assert in_process.job(job).error_code == "too_large"
    assert "users.csv" in str(in_process.job(job).error_detail)


def test_bad_input_fails_the_job_with_its_code_and_leaves_the_published_version(in_process: InProcess) -> None:
    published = in_process.run()
    (in_process.settings.data_dir / "compounds.csv").unlink()

    job = in_process.run()

    assert (job.state, job.error_code, job.attempt) == ("failed", "missing_file", 1)
    assert job.error_detail
    assert "compounds.csv" in job.error_detail
    _assert_nothing_but(in_process, published)


def test_too_many_rejections_fail_the_job_and_leave_the_published_version(in_process: InProcess) -> None:
    published = in_process.run()
    _append(in_process.settings.data_dir / "users.csv", "15,\tOlga,\tolga@example.com,\tsoon")

    job = in_process.run(max_rejected_ratio=0)

    assert (job.state, job.error_code) == ("failed", "too_many_rejections")
    assert job.error_detail == "users.csv: 1 of 15 lines rejected; allowed is a share of 0"
    assert set(job.timings_ms) == {"queued", "compare", "extract", "validate"}
    _assert_nothing_but(in_process, published)


def test_a_dataset_without_a_directory_fails_the_job(in_process: InProcess) -> None:
    job = in_process.run(dataset="gone")

    assert (job.state, job.error_code) == ("failed", "unknown_dataset")


def _assert_nothing_but(in_process: InProcess, published: Job) -> None:
    """The published version is whole, and nothing of another one is there."""
    assert in_process.published() == published.id
    assert len(in_process.query("SELECT user_id FROM user_features WHERE job_id = :id", id=published.id)) == 14
    assert in_process.query("SELECT job_id FROM experiment_summary") == [{"job_id": published.id}]
    assert in_process.query("SELECT job_id FROM dataset_versions") == [{"job_id": published.id}]
    for rejection in in_process.query("SELECT error_code FROM rejections JOIN jobs ON jobs.id = job_id"):
        assert rejection == {"error_code": "too_many_rejections"}
    # What an attempt has loaded is nobody's, and goes with the next tidying up; that of a job that has not ended
    # with its next attempt.
    versions.drop_old(in_process.engine, keep=5)
    left = in_process.tables_of_versions() - {f"user_feature_versions_{published.id.hex}"}
    waiting = in_process.query("SELECT id FROM jobs WHERE state IN ('queued', 'running')")
    assert left <= {f"user_feature_versions_{row['id'].hex}" for row in waiting}


def _then_fail(real: Callable[..., Any]) -> Callable[..., Any]:
    """Do the real thing, then fail: at that moment as much is there as ever can be."""

    def step(*args: Any, **options: Any) -> None:
        real(*args, **options)
        raise RuntimeError("out of luck")

    return step


def _break_extract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "extract", _then_fail(extract))


def _break_validate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "refuse_rejections_above", _then_fail(account.refuse_rejections_above))


def _break_derive(monkeypatch: pytest.MonkeyPatch) -> None:
    real = DuckDB.make

    def make(self: DuckDB, steps: Any, progress: Progress) -> None:
        real(self, steps, progress)
        if steps is features.steps:
            raise RuntimeError("out of luck")

    monkeypatch.setattr(DuckDB, "make", make)


def _break_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_copy", _then_fail(load._copy))


def _break_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "load", _then_fail(load.load))


def _break_reconcile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "reconcile", _then_fail(publish.reconcile))


def _break_publish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tasks.PUBLICATIONS, "publish", _then_fail(publish.publish))


def _break_succeed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "succeed", _then_fail(jobs.succeed))


BREAKS = [
    _break_extract,
    _break_validate,
    _break_derive,
    _break_copy,
    _break_load,
    _break_reconcile,
    _break_publish,
    _break_succeed,
]


@pytest.mark.parametrize("break_", BREAKS)
def test_an_error_in_the_middle_leaves_the_published_version_and_nothing_else(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch, break_: Callable[[pytest.MonkeyPatch], None]
) -> None:
    published = in_process.run()
    _append(in_process.settings.data_dir / "users.csv", "15,\tOlga,\tolga@example.com,\tsoon")
    break_(monkeypatch)

    job = in_process.run()

    assert (job.state, job.error_code) == ("failed", "internal_error")
    _assert_nothing_but(in_process, published)


def test_an_unexpected_exception_shows_no_more_than_internal_error(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _break_load(monkeypatch)

    job = in_process.run()

    assert (job.state, job.error_code) == ("failed", "internal_error")
    assert job.error_detail == f"internal error; the worker logged it with job_id {job.id}"
    assert "RuntimeError: out of luck" in caplog.text


def test_lines_that_went_missing_are_an_internal_error_and_nothing_is_published(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:

    def changed_load(engine: Engine, connection: Connection, job_id: UUID, on_rows: OnRows) -> None:
        load.load(engine, connection, job_id, on_rows)
        with connection.cursor() as cursor:
            cursor.execute(f'DELETE FROM "user_feature_versions_{job_id.hex}" WHERE user_id = 3')  # noqa: S608

    monkeypatch.setattr(pipeline, "load", changed_load)

    job = in_process.run()

    assert (job.state, job.error_code, job.reconciled) == ("failed", "internal_error", None)
    assert "NotReconciled" in caplog.text
    assert in_process.published() is None


# --- publication and `succeeded` are one transaction


def test_before_the_commit_neither_the_publication_nor_the_success_is_visible(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = in_process.run()
    seen: list[tuple[UUID | None, str]] = []
    job = in_process.submit(force=True)
    real = jobs.succeed

    def succeed(
        connection: sa.Connection,
        job: Job,
        outcome: str,
        inputs: Sequence[Mapping[str, Any]],
        timings_ms: Mapping[str, float],
        **detail: str | None,
    ) -> None:
        seen.append((in_process.published(), in_process.job(job).state))
        real(connection, job, outcome, inputs, timings_ms, **detail)
        seen.append((in_process.published(), in_process.job(job).state))

    monkeypatch.setattr(jobs, "succeed", succeed)
    in_process.run_job(job)

    assert seen == [(old.id, "running")] * 2
    assert (in_process.published(), in_process.job(job).state) == (job.id, "succeeded")


def test_a_commit_that_fails_leaves_neither_the_publication_nor_the_success(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection that publishes breaks when everything is done but the commit."""
    published = in_process.run()
    publishing: list[int] = []
    succeed = jobs.succeed

    def remember(connection: Connection, version: publish.Version) -> publish.Outcome:
        publishing.append(connection.info.backend_pid)
        return publish.publish(connection, version)

    def succeed_and_break(*arguments: Any, **detail: Any) -> None:
        succeed(*arguments, **detail)
        in_process.query("SELECT pg_terminate_backend(:pid)", pid=publishing[0])

    monkeypatch.setitem(tasks.PUBLICATIONS, "publish", remember)
    monkeypatch.setattr(jobs, "succeed", succeed_and_break)

    job = in_process.run(force=True)

    assert publishing
    assert job.state != "succeeded"
    _assert_nothing_but(in_process, published)


def test_a_reader_never_finds_the_views_empty_while_versions_follow_each_other(in_process: InProcess) -> None:
    """A query is planned with the partitions of one moment and looks at the pointer in the next."""
    in_process.run()
    seen: set[tuple[int, int]] = set()
    done = Event()

    def read() -> None:
        query = "SELECT count(*) AS users, count(DISTINCT job_id) AS versions FROM user_features"
        with in_process.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not done.is_set():
                seen.add(tuple(connection.execute(sa.text(query)).one()))

    with ThreadPoolExecutor() as threads:
        readers = [threads.submit(read) for _ in range(2)]
        try:
            for _ in range(40):
                assert in_process.run(force=True).outcome == "published"
        finally:
            done.set()
        for reader in readers:
            reader.result(30)

    assert seen == {(14, 1)}


def test_what_an_attempt_loaded_and_did_not_publish_makes_room_for_the_next_one(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker died between the load and the publication."""
    published = in_process.run()
    _append(in_process.settings.data_dir / "users.csv", "15,\tOlga,\tolga@example.com,\t2024-01-01")
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "reconcile", lambda *_: (_ for _ in ()).throw(Transient("gone")))
        job = in_process.run()
    assert (job.state, len(in_process.tables_of_versions())) == ("queued", 2)
    versions.drop_old(in_process.engine, keep=5)
    assert len(in_process.tables_of_versions()) == 2, "the job has not ended"

    _make_due(in_process)
    done = in_process.run_job(job)

    assert (done.outcome, done.attempt) == ("published", 2)
    assert in_process.query("SELECT count(*) AS users FROM user_features") == [{"users": 15}]
    assert in_process.published() != published.id


def test_a_reader_does_not_hold_up_the_attempt_after_one_that_died(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads at length keeps the partition from being detached, and so nothing may depend on that."""
    in_process.run()
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "reconcile", lambda *_: (_ for _ in ()).throw(Transient("gone")))
        job = in_process.run(force=True)
    monkeypatch.setattr(publish, "_READERS_PATIENCE_S", 0.1)
    _make_due(in_process)

    with in_process.engine.connect() as reader:
        reader.execute(sa.text("SELECT count(*) FROM user_features"))
        done = in_process.run_job(job)

    assert (done.outcome, done.attempt) == ("published", 2)
    assert in_process.query("SELECT count(*) AS users FROM user_features") == [{"users": USERS_IN_SAMPLE}]


def test_rows_are_loaded_without_a_lock_that_others_would_take_for_a_readers(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = "SELECT mode FROM pg_locks WHERE relation = 'user_feature_versions'::regclass"
    seen = []

    def changed_load(engine: Engine, connection: Connection, job_id: UUID, on_rows: OnRows) -> None:
        def look(rows: int) -> None:
            seen.append(in_process.query(locks))
            on_rows(rows)

        load.load(engine, connection, job_id, look)

    monkeypatch.setattr(pipeline, "load", changed_load)

    assert in_process.run().outcome == "published"
    assert seen == [[], []]


def test_a_table_that_another_attempt_has_just_made_is_no_defect(in_process: InProcess) -> None:
    job = in_process.submit()
    in_process.execute(f'CREATE TABLE "user_feature_versions_{job.id.hex}" ()')

    after = in_process.run_job(job)

    assert (after.state, after.error_code) == ("queued", None)


def test_a_version_that_is_published_while_old_ones_are_dropped_stays(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweeper looks at tables, jobs and versions one after the other; the commit falls in between."""
    loaded, go_on = Event(), Event()
    publish_now, ended = publish.publish, jobs.ended

    def publish_later(connection: Connection, version: publish.Version) -> publish.Outcome:
        loaded.set()
        assert go_on.wait(30)
        return publish_now(connection, version)

    monkeypatch.setitem(tasks.PUBLICATIONS, "publish", publish_later)
    with ThreadPoolExecutor() as threads:
        running = threads.submit(in_process.run)
        assert loaded.wait(30)

        def ended_after_the_commit(connection: sa.Connection, job_ids: Sequence[UUID]) -> list[UUID]:
            go_on.set()
            assert running.result(30).outcome == "published"
            return ended(connection, job_ids)

        monkeypatch.setattr(jobs, "ended", ended_after_the_commit)
        versions.drop_old(in_process.engine, keep=5)

    assert in_process.query("SELECT count(*) AS users FROM user_features") == [{"users": USERS_IN_SAMPLE}]


def test_an_attempt_that_lost_its_lease_at_the_end_publishes_nothing(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fence itself: while this attempt was publishing, the job was given to another."""
    published = in_process.run()
    job = in_process.submit(force=True)

    def publish_too_late(connection: Connection, version: publish.Version) -> publish.Outcome:
        in_process.execute("UPDATE jobs SET attempt = 2, worker = 'another' WHERE id = :id", id=version.job_id)
        return publish.publish(connection, version)

    monkeypatch.setitem(tasks.PUBLICATIONS, "publish", publish_too_late)

    after = in_process.run_job(job)

    assert (after.state, after.attempt) == ("running", 2)
    _assert_nothing_but(in_process, published)


def test_a_success_that_cannot_be_written_down_publishes_nothing(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = in_process.run()

    def lose(*_: object, **__: object) -> None:
        raise LeaseLost

    monkeypatch.setattr(jobs, "succeed", lose)

    job = in_process.run(force=True)

    assert job.state == "running"  # nobody has it: the sweeper will take it back
    _assert_nothing_but(in_process, published)


# --- something outside was away


@pytest.mark.parametrize("error", [psycopg2.OperationalError("gone"), Transient("gone")])
def test_a_job_waits_for_another_attempt_when_something_outside_is_away(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    published = in_process.run()

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "load", fail)
        job = in_process.run(force=True)

    assert (job.state, job.attempt, job.error_code) == ("queued", 1, None)
    _assert_nothing_but(in_process, published)

    _make_due(in_process)
    job = in_process.run_job(job)

    assert (job.state, job.outcome, job.attempt) == ("succeeded", "published", 2)


def test_what_stays_away_fails_the_job_after_three_attempts(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise psycopg2.OperationalError("gone")

    monkeypatch.setattr(pipeline, "load", fail)
    job = in_process.submit()
    for _ in range(3):
        _make_due(in_process)
        job = in_process.run_job(job)

    assert (job.state, job.attempt, job.error_code) == ("failed", 3, "unavailable")


def test_a_job_whose_connection_breaks_waits_for_another_attempt(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a restart of Postgres looks like from here."""

    def changed_load(engine: Engine, connection: Connection, job_id: UUID, on_rows: OnRows) -> None:
        in_process.query("SELECT pg_terminate_backend(:pid)", pid=connection.info.backend_pid)
        load.load(engine, connection, job_id, on_rows)

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "load", changed_load)
        job = in_process.run()

    assert (job.state, job.attempt, job.error_code) == ("queued", 1, None)
    _make_due(in_process)
    assert in_process.run_job(job).outcome == "published"


def test_an_unchanged_dataset_is_held_to_the_ratio_of_its_own_job(in_process: InProcess) -> None:
    """The job that published it allowed more."""
    with (in_process.settings.data_dir / "users.csv").open("a") as file:
        file.write("\n15,\tOlga,\tolga@example.com,\tsoon")
    assert in_process.run(max_rejected_ratio=1.0).outcome == "published"

    assert in_process.run(max_rejected_ratio=0.5).outcome == "unchanged"
    strict = in_process.run(max_rejected_ratio=0.0)

    assert (strict.state, strict.error_code) == ("failed", "too_many_rejections")


# --- two attempts at once


def _second_runner(in_process: InProcess) -> Runner:
    return replace(in_process.runner, worker="another")


def _expire(in_process: InProcess, job: Job) -> None:
    """Let a lease expire now: 20 s of silence are nothing that a test can wait for."""
    with in_process.engine.begin() as connection:  # one transaction: in here nobody renews
        connection.execute(
            sa.text("UPDATE jobs SET lease_expires_at = now() - interval '1 second' WHERE id = :id"), {"id": job.id}
        )
        jobs.end_abandoned(connection)
        assert jobs.take_back_lost(connection) == [job.id]
    _make_due(in_process)


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_attempt_that_hangs_does_not_hold_up_the_next_one(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The first attempt stops for good, with its transaction open, before or after it has made its table."""
    job = in_process.submit()
    hangs, go_on = Event(), Event()

    def changed_load(engine: Engine, connection: Connection, job_id: UUID, on_rows: OnRows) -> None:
        if hangs.is_set():
            return load.load(engine, connection, job_id, on_rows)
        if when == "after":
            load.load(engine, connection, job_id, on_rows)
        hangs.set()
        assert go_on.wait(60)
        return None if when == "after" else load.load(engine, connection, job_id, on_rows)

    monkeypatch.setattr(pipeline, "load", changed_load)
    with ThreadPoolExecutor() as threads:
        try:
            first = threads.submit(in_process.runner.run_job, str(job.id))
            assert hangs.wait(30)
            _expire(in_process, job)
            second = threads.submit(_second_runner(in_process).run_job, str(job.id))
            wait_until(lambda: in_process.job(job).is_final, "the second attempt is done", seconds=8)
        finally:
            go_on.set()
        second.result(30)
        first.result(30)

    done = in_process.job(job)
    assert (done.state, done.outcome, done.attempt) == ("succeeded", "published", 2)
    _assert_nothing_but(in_process, done)


# --- the next one


def test_the_next_job_of_the_dataset_is_rung(in_process: InProcess) -> None:
    first, second, _ = in_process.submit(), in_process.submit(), in_process.submit()
    in_process.submit(dataset="second")

    in_process.run_job(first)

    assert _rung(in_process) == [str(second.id)]


def test_the_next_job_is_rung_also_when_this_one_failed(in_process: InProcess) -> None:
    (in_process.settings.data_dir / "users.csv").unlink()
    first, second = in_process.submit(), in_process.submit()

    assert in_process.run_job(first).state == "failed"

    assert _rung(in_process) == [str(second.id)]


def test_a_job_of_a_busy_dataset_stays_queued(in_process: InProcess) -> None:
    in_process.claim(in_process.submit(), "another")

    assert in_process.run().state == "queued"


def test_a_job_ends_well_although_nobody_can_be_rung(in_process: InProcess) -> None:
    settings = replace(in_process.settings, redis_url="unix:///nonexistent/redis.sock?db=0")
    runner = replace(in_process.runner, app=queue.celery_app(settings))
    first, second = in_process.submit(), in_process.submit()

    runner.run_job(str(first.id))

    assert (in_process.job(first).state, in_process.job(second).state) == ("succeeded", "queued")


def test_warming_up_leaves_nothing_behind(in_process: InProcess) -> None:
    in_process.runner.warm_up()

    assert in_process.tables_of_versions() == set()
    assert list(in_process.settings.spill_dir.iterdir()) == []


def test_a_job_leaves_nothing_on_disk(in_process: InProcess) -> None:
    in_process.run()

    assert list(in_process.settings.spill_dir.iterdir()) == []
