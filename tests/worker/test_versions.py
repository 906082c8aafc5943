"""Old versions go without anybody having to wait for it."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import UUID

import pytest
import sqlalchemy as sa

from tests.conftest import SAMPLE, InProcess
from tests.servers import wait_until
from worker import versions
from worker.jobs import Job

READ = "SELECT count(*) AS count FROM user_features"


def _publish(in_process: InProcess, times: int) -> list[Job]:
    """Publish so many versions; they are returned oldest first."""
    return [in_process.run(force=True) for _ in range(times)]


def _kept(in_process: InProcess) -> set[UUID]:
    rows = in_process.query("SELECT job_id FROM dataset_versions")
    kept = {row["job_id"] for row in rows}
    assert in_process.tables_of_versions() == {f"user_feature_versions_{job_id.hex}" for job_id in kept}
    return kept


@contextmanager
def _reader(in_process: InProcess) -> Iterator[sa.Connection]:
    """Somebody who has read the features and has not ended the transaction."""
    with in_process.engine.connect() as connection:
        connection.execute(sa.text(READ))
        yield connection


def test_the_newest_versions_stay(in_process: InProcess) -> None:
    published = _publish(in_process, 4)

    versions.drop_old(in_process.engine, keep=2)

    assert _kept(in_process) == {job.id for job in published[-2:]}
    assert in_process.published() == published[-1].id


def test_nothing_is_dropped_while_there_are_not_too_many(in_process: InProcess) -> None:
    published = _publish(in_process, 2)

    versions.drop_old(in_process.engine, keep=2)

    assert _kept(in_process) == {job.id for job in published}


def test_the_published_version_stays_however_old_it_is(in_process: InProcess) -> None:
    oldest, _, newest = _publish(in_process, 3)
    in_process.execute("UPDATE datasets SET published_job_id = :id", id=oldest.id)

    versions.drop_old(in_process.engine, keep=1)

    assert _kept(in_process) == {oldest.id, newest.id}
    assert in_process.query(READ) == [{"count": 14}]


def test_every_dataset_keeps_its_own(in_process: InProcess) -> None:
    shutil.copytree(SAMPLE, in_process.settings.data_dir / "second")
    other = in_process.run(dataset="second")
    published = _publish(in_process, 2)

    versions.drop_old(in_process.engine, keep=1)

    assert _kept(in_process) == {other.id, published[-1].id}


def test_dry_runs_do_not_evict_what_was_published(in_process: InProcess) -> None:
    published = _publish(in_process, 2)
    dry_runs = [in_process.run(mode="dry_run") for _ in range(2)]

    versions.drop_old(in_process.engine, keep=2)

    assert _kept(in_process) == {job.id for job in published + dry_runs}


def test_dry_runs_do_not_pile_up(in_process: InProcess) -> None:
    """Nor does a later publication evict them."""
    dry_runs = [in_process.run(mode="dry_run") for _ in range(3)]
    published = in_process.run()

    versions.drop_old(in_process.engine, keep=2)

    assert _kept(in_process) == {*(job.id for job in dry_runs[1:]), published.id}


def test_a_held_version_is_kept_like_a_published_one(in_process: InProcess) -> None:
    _, published = _publish(in_process, 2)
    in_process.lose_users(left=5)
    held = in_process.run(max_rejected_ratio=1.0)
    assert held.outcome == "held"

    versions.drop_old(in_process.engine, keep=2)

    assert _kept(in_process) == {published.id, held.id}


def test_a_dataset_that_somebody_publishes_just_now_is_left_for_the_next_time(in_process: InProcess) -> None:
    old, published = _publish(in_process, 2)
    with ThreadPoolExecutor() as threads, in_process.engine.begin() as publishing:
        publishing.execute(sa.text("SELECT FROM datasets FOR NO KEY UPDATE"))

        threads.submit(versions.drop_old, in_process.engine, keep=1).result(20)

        assert _kept(in_process) == {old.id, published.id}
    versions.drop_old(in_process.engine, keep=1)
    assert _kept(in_process) == {published.id}


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for readers longer than any of these tests takes."""
    monkeypatch.setattr(versions, "_PATIENCE_MS", 120_000)


@pytest.mark.usefixtures("patience")
def test_a_reader_is_not_disturbed_while_an_old_version_waits_to_go(in_process: InProcess) -> None:
    """It goes when the reader is done; meanwhile everybody reads on."""
    _, published = _publish(in_process, 2)

    with ThreadPoolExecutor() as threads:
        with _reader(in_process) as reader:
            dropping = threads.submit(versions.drop_old, in_process.engine, keep=1)
            wait_until(lambda: dropping.done() or _waits(in_process), "dropping waits for the reader")
            assert not dropping.done()

            # With a time limit, so that a reader who is blocked fails this test and does not hang it.
            reader.execute(sa.text("SET LOCAL lock_timeout = '3s'"))
            assert reader.execute(sa.text(READ)).scalar_one() == 14
            with in_process.engine.begin() as another:
                another.execute(sa.text("SET LOCAL lock_timeout = '3s'"))
                assert another.execute(sa.text(READ)).scalar_one() == 14
        dropping.result(30)

    assert _kept(in_process) == {published.id}


@pytest.mark.usefixtures("patience")
def test_a_job_publishes_while_an_old_version_waits_to_go(in_process: InProcess) -> None:
    _publish(in_process, 2)

    with ThreadPoolExecutor() as threads, _reader(in_process):
        dropping = threads.submit(versions.drop_old, in_process.engine, keep=1)
        wait_until(lambda: dropping.done() or _waits(in_process), "dropping waits for the reader")

        publishing = threads.submit(in_process.run, force=True)
        newest = publishing.result(20)

        assert not dropping.done()
        assert in_process.published() == newest.id
    dropping.result(30)


def _waits(in_process: InProcess) -> bool:
    return bool(in_process.query("SELECT FROM pg_locks WHERE NOT granted"))


def _give_up(in_process: InProcess, monkeypatch: pytest.MonkeyPatch, keep: int) -> None:
    """Try to drop while a reader does not end, and lose patience."""
    with monkeypatch.context() as patched, _reader(in_process):
        patched.setattr(versions, "_PATIENCE_MS", 50)
        kept = _kept(in_process)
        versions.drop_old(in_process.engine, keep)
        assert _kept(in_process) == kept


def test_a_reader_who_does_not_end_is_not_waited_for_for_ever(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, published = _publish(in_process, 2)

    _give_up(in_process, monkeypatch, keep=1)

    assert in_process.query(READ) == [{"count": 14}]
    versions.drop_old(in_process.engine, keep=1)
    assert _kept(in_process) == {published.id}


def test_a_version_that_could_not_go_does_not_keep_the_others(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres detaches one partition at a time: what was begun must be ended first, whatever has come since."""
    _publish(in_process, 2)
    _give_up(in_process, monkeypatch, keep=1)
    newest = _publish(in_process, 2)[-1]

    versions.drop_old(in_process.engine, keep=1)

    assert _kept(in_process) == {newest.id}


@pytest.mark.parametrize("after", ["detach", "drop"])
def test_a_drop_that_was_interrupted_is_ended_by_the_next_one(in_process: InProcess, after: str) -> None:
    old, published = _publish(in_process, 2)
    partition = f'"user_feature_versions_{old.id.hex}"'
    in_process.execute(f"ALTER TABLE user_feature_versions DETACH PARTITION {partition}")
    if after == "drop":
        in_process.execute(f"DROP TABLE {partition}")

    versions.drop_old(in_process.engine, keep=1)

    assert _kept(in_process) == {published.id}


def test_the_rejections_of_a_version_go_with_it(in_process: InProcess) -> None:
    with (in_process.settings.data_dir / "users.csv").open("a") as file:
        file.write("\n15,\tOlga,\tolga@example.com,\tsoon")
    _, published = _publish(in_process, 2)

    versions.drop_old(in_process.engine, keep=1)

    assert in_process.query("SELECT job_id FROM rejections") == [{"job_id": published.id}]


def _fail(in_process: InProcess, times: int, dataset: str = "default") -> list[UUID]:
    """Fail so many jobs, each with a rejection that is kept; they are returned oldest first."""
    failed = []
    for _ in range(times):
        job = in_process.run(dataset=dataset)
        assert job.state == "failed"
        in_process.execute(
            "INSERT INTO rejections (job_id, file, line, code, message) VALUES (:id, 'users.csv', 2, 'x', 'x')",
            id=job.id,
        )
        failed.append(job.id)
    return failed


def _rejecting(in_process: InProcess) -> set[UUID]:
    return {row["job_id"] for row in in_process.query("SELECT DISTINCT job_id FROM rejections")}


def test_the_rejections_of_the_newest_failed_jobs_stay(in_process: InProcess) -> None:
    (in_process.settings.data_dir / "second").mkdir()
    other = _fail(in_process, 1, dataset="second")
    (in_process.settings.data_dir / "users.csv").unlink()
    failed = _fail(in_process, 3)
    assert in_process.run().state == "failed"  # without any: it does not count

    versions.drop_old(in_process.engine, keep=2)

    assert _rejecting(in_process) == {*other, *failed[1:]}


def test_the_rejections_of_failed_jobs_do_not_evict_those_of_versions(in_process: InProcess) -> None:
    users = in_process.settings.data_dir / "users.csv"
    with users.open("a") as file:
        file.write("\n15,\tOlga,\tolga@example.com,\tsoon")
    published = in_process.run()
    dry_run = in_process.run(mode="dry_run")
    users.unlink()
    failed = _fail(in_process, 2)

    versions.drop_old(in_process.engine, keep=1)

    assert _rejecting(in_process) == {published.id, dry_run.id, failed[1]}


def test_the_jobs_of_dropped_versions_stay_in_the_ledger(in_process: InProcess) -> None:
    old, _ = _publish(in_process, 2)

    versions.drop_old(in_process.engine, keep=1)

    assert in_process.job(old) == old


def test_the_connection_goes_back_to_the_pool_without_the_time_limit(in_process: InProcess) -> None:
    versions.drop_old(in_process.engine, keep=1)

    assert in_process.query("SHOW statement_timeout") == [{"statement_timeout": "0"}]
