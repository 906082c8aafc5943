"""Publication is one transaction: the old version or the new one, never a mixture, never a loss."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2.extensions
import pytest
import sqlalchemy as sa

from etl import account, load, publish
from etl.account import FileAccount
from etl.engines import Engine
from etl.inputs import InputFile
from etl.publish import NotReconciled, Outcome
from tests.etl.conftest import Service, dataset_in, write

EXPERIMENTS = "experiment_id,user_id,experiment_compound_ids,experiment_run_time\n"


class Broken(Exception):  # noqa: N818
    """What a test raises in the middle of something."""


def _tables(service: Service) -> set[str]:
    rows = service.query("SELECT relname FROM pg_class WHERE relname LIKE 'user_feature_versions_%' AND relkind = 'r'")
    return {row["relname"] for row in rows}


def test_a_reader_sees_the_old_version_until_the_commit(service: Service, tmp_path: Path) -> None:
    service.run(write(tmp_path))
    old = service.features()
    write(tmp_path, user_experiments=EXPERIMENTS)
    seen = []

    service.run(tmp_path, before_commit=lambda _connection: seen.append(service.features()))

    assert seen == [old]
    assert service.features() != old


def test_a_failure_after_publishing_leaves_the_old_version_and_what_was_loaded_for_nobody(
    service: Service, tmp_path: Path
) -> None:
    """The rows were loaded before; tests/worker/test_versions.py has what becomes of them."""
    service.run(write(tmp_path))
    before, tables = (service.features(), service.query("SELECT * FROM experiment_summary")), _tables(service)
    write(tmp_path, user_experiments=EXPERIMENTS + "1,1,x,1\n")
    job_id = service.new_job()

    def fail(_connection: psycopg2.extensions.connection) -> None:
        raise Broken

    with pytest.raises(Broken):
        service.run(tmp_path, job_id=job_id, before_commit=fail)

    assert (service.features(), service.query("SELECT * FROM experiment_summary")) == before
    assert _tables(service) - tables == {f"user_feature_versions_{job_id.hex}"}
    assert service.rejections() == []


def test_a_dry_run_keeps_its_version_and_the_views_go_on_showing_the_published_one(
    service: Service, tmp_path: Path
) -> None:
    service.run(write(tmp_path))
    before = service.features(), service.summary()
    write(tmp_path, user_experiments=EXPERIMENTS + "1,1,x,1\n")
    job_id = service.new_job()

    result = service.run(tmp_path, job_id=job_id, publication=publish.rehearse)

    assert result.outcome == Outcome("dry_run")
    assert (service.features(), service.summary()) == before
    assert len(service.rejections()) == 1
    [row] = service.query("SELECT user_id, average_run_time FROM user_feature_versions WHERE job_id = :id", id=job_id)
    assert row == {"user_id": 1, "average_run_time": 1.0}


# --- held


def _users(*user_ids: int) -> str:
    lines = [f"{user_id},Ann,ann@example.com,2024-01-01\n" for user_id in user_ids]
    return "".join(["user_id,name,email,signup_date\n", *lines])


def _publish(service: Service, directory: Path, *user_ids: int) -> Outcome:
    return service.run(write(directory, users=_users(*user_ids), user_experiments=EXPERIMENTS)).outcome


def _published_users(service: Service) -> list[int]:
    return [row["user_id"] for row in service.features()]


def test_a_version_that_drops_more_than_half_of_the_published_users_is_held(service: Service, tmp_path: Path) -> None:
    _publish(service, tmp_path, 1, 2, 3, 4, 5)

    outcome = _publish(service, tmp_path, 1, 2)

    assert outcome == Outcome("held", "3 of the 5 published users would be dropped")
    assert _published_users(service) == [1, 2, 3, 4, 5]


def test_a_version_that_drops_exactly_half_of_the_published_users_is_published(
    service: Service, tmp_path: Path
) -> None:
    _publish(service, tmp_path, 1, 2, 3, 4)

    assert _publish(service, tmp_path, 1, 2) == Outcome("published")
    assert _published_users(service) == [1, 2]


def test_as_many_users_as_before_do_not_help_where_they_are_others(service: Service, tmp_path: Path) -> None:
    _publish(service, tmp_path, 1, 2, 3)

    assert _publish(service, tmp_path, 3, 4, 5, 6) == Outcome("held", "2 of the 3 published users would be dropped")


def test_a_held_version_is_kept_with_its_rows(service: Service, tmp_path: Path) -> None:
    _publish(service, tmp_path, 1, 2, 3)
    _publish(service, tmp_path, 9)

    [held] = service.query("SELECT job_id FROM dataset_versions WHERE outcome = 'held'")
    rows = service.query("SELECT user_id FROM user_feature_versions WHERE job_id = :job_id", **held)
    assert rows == [{"user_id": 9}]


def test_what_counts_is_the_published_version_and_not_the_one_held_last(service: Service, tmp_path: Path) -> None:
    _publish(service, tmp_path, 1, 2, 3)
    _publish(service, tmp_path, 9)

    assert _publish(service, tmp_path, 9).name == "held"
    assert _publish(service, tmp_path, 1, 2, 9).name == "published"


def test_the_first_version_of_a_dataset_is_never_held(service: Service, tmp_path: Path) -> None:
    assert _publish(service, tmp_path / "empty") == Outcome("published")
    assert _publish(service, tmp_path / "empty") == Outcome("published")


def test_the_pointer_stands_still_from_the_comparison_to_the_commit(service: Service, tmp_path: Path) -> None:
    """Also where the version is held: the reason that the job tells must be true when it is told."""
    _publish(service, tmp_path, 1)
    write(tmp_path, users=_users(9), user_experiments=EXPERIMENTS)

    def move(_connection: psycopg2.extensions.connection) -> None:
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
            service.query("SET lock_timeout = 50; UPDATE datasets SET published_job_id = NULL")

    assert service.run(tmp_path, before_commit=move).outcome.name == "held"


# --- what is published


def test_datasets_are_published_apart_from_each_other(service: Service, tmp_path: Path) -> None:
    service.run(write(tmp_path / "a"), dataset="a")
    service.run(write(tmp_path / "b", user_experiments=EXPERIMENTS), dataset="b")

    rows = service.query("SELECT dataset, total_experiments FROM user_features ORDER BY dataset")
    assert [tuple(row.values()) for row in rows] == [("a", 1), ("b", 0)]


@pytest.mark.parametrize(
    "lie",
    [
        {"read": 2},
        {"accepted": 2, "read": 2},
        {"rejected": 1, "read": 2},
        {"codes": {"unknown_compound": 1}},
    ],
    ids=["a line was lost", "a row was not loaded", "a rejection was not stored", "an item was not stored"],
)
def test_what_does_not_reconcile_is_not_published(
    lie: dict[str, Any], service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.run(write(tmp_path))
    before = service.features()
    write(tmp_path, user_experiments=EXPERIMENTS)

    def take(engine: Engine, inputs: list[InputFile]) -> list[FileAccount]:
        users, *others = true(engine, inputs)
        return [replace(users, **lie), *others]

    true = account.take
    monkeypatch.setattr(account, "take", take)
    with pytest.raises(NotReconciled):
        service.run(tmp_path)

    assert service.features() == before


def test_a_published_version_is_logged_and_attached(service: Service, tmp_path: Path) -> None:
    job_id = service.new_job()
    service.run(write(tmp_path), job_id=job_id)

    [table] = service.query(
        "SELECT relpersistence, relispartition FROM pg_class WHERE oid = to_regclass(:name)",
        name=load.table_of(job_id).string,
    )
    assert table == {"relpersistence": "p", "relispartition": True}


def test_a_version_is_recognized_by_its_files_and_the_pipeline(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from etl import pipeline
    from worker import database

    service.run(write(tmp_path))

    def is_published() -> bool:
        fingerprint = pipeline.fingerprint(dataset_in(tmp_path).snapshots())
        with service.engine.connect() as connection:
            return publish.is_published(database.driver_connection(connection), "default", fingerprint)

    assert is_published()
    monkeypatch.setattr(pipeline, "version", lambda: "another")
    assert not is_published()
    monkeypatch.undo()
    write(tmp_path, user_experiments=EXPERIMENTS)
    assert not is_published()
