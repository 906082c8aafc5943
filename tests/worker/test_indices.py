"""The indices of published versions are made afterwards, and are in nobody's way."""

import random
import string
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
import sqlalchemy as sa

from tests.conftest import InProcess
from tests.servers import wait_until
from worker import disk, indices, versions
from worker.jobs import Job


@pytest.fixture(autouse=True)
def _every_version_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indices, "_LARGE_BYTES", 0)


def _make(in_process: InProcess) -> None:
    indices.make_missing(in_process.engine, in_process.settings)


def _indexed(in_process: InProcess, job: Job) -> set[str]:
    """The columns by which a version can be sorted fast."""
    rows = in_process.query(
        "SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid WHERE indisvalid AND relname LIKE 'by%'"
        " AND indrelid = to_regclass(:partition)",
        partition=f"user_feature_versions_{job.id.hex}",
    )
    return {row["relname"].removeprefix("by_").removesuffix(f"_{job.id.hex}") for row in rows}


def test_a_published_version_gets_its_indices_once(in_process: InProcess) -> None:
    job = in_process.run()
    assert _indexed(in_process, job) == set()

    _make(in_process)
    _make(in_process)

    assert _indexed(in_process, job) == set(indices.KEYS)


def test_the_planner_knows_an_indexed_version(in_process: InProcess) -> None:
    job = in_process.run()

    _make(in_process)

    [row] = in_process.query(
        "SELECT reltuples FROM pg_class WHERE relname = :name", name=f"user_feature_versions_{job.id.hex}"
    )
    assert row["reltuples"] == 14


def test_a_text_may_be_longer_than_an_entry_of_an_index(in_process: InProcess) -> None:
    name = "".join(random.choices(string.ascii_letters + "äöü€", k=20_000))  # noqa: S311 - what repeats is compressed
    with (in_process.settings.data_dir / "users.csv").open("a") as file:
        file.write(f"\n99,{name},{name}@example.com,2024-01-01")
    job = in_process.run()

    _make(in_process)

    assert _indexed(in_process, job) == set(indices.KEYS)


def test_what_is_not_published_or_small_has_none(in_process: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsed = in_process.run(mode="dry_run")
    _make(in_process)
    assert _indexed(in_process, rehearsed) == set()

    published = in_process.run()
    monkeypatch.setattr(indices, "_LARGE_BYTES", 1 << 20)
    _make(in_process)
    assert _indexed(in_process, published) == set()


def test_an_interrupted_making_is_ended_by_the_next_one(in_process: InProcess) -> None:
    job = in_process.run()
    _make(in_process)
    in_process.execute(f'DROP INDEX "by_email_{job.id.hex}"')

    _make(in_process)

    assert _indexed(in_process, job) == set(indices.KEYS)


@contextmanager
def _at_work(in_process: InProcess, job: Job) -> Iterator[None]:
    """Somebody makes an index of a version, and is not done yet."""
    with in_process.engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_lock(:lock)"), {"lock": indices._LOCK})
        partition = f'"user_feature_versions_{job.id.hex}"'
        connection.execute(sa.text(f"CREATE INDEX by_hand ON {partition} (email)"))
        yield
        connection.execute(sa.text("SELECT pg_advisory_unlock(:lock)"), {"lock": indices._LOCK})


def test_two_sweepers_do_not_make_the_same(in_process: InProcess) -> None:
    job = in_process.run()
    with _at_work(in_process, job):
        _make(in_process)
        with in_process.engine.connect() as connection:
            found = connection.scalar(sa.text("SELECT count(*) FROM pg_class WHERE relname LIKE 'by\\_email%'"))
        assert found == 0


def test_a_version_whose_indices_are_being_made_is_read_and_replaced(in_process: InProcess) -> None:
    job = in_process.run()
    with _at_work(in_process, job):
        assert len(in_process.query("SELECT * FROM user_features")) == 14
        newer = in_process.run(force=True)
        assert in_process.published() == newer.id


def test_an_old_version_goes_once_its_indices_are_made(in_process: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_PATIENCE_MS", 100)
    old = in_process.run()
    table = f"user_feature_versions_{old.id.hex}"
    with _at_work(in_process, old):
        in_process.run(force=True)
        versions.drop_old(in_process.engine, keep=1)
        assert table in in_process.tables_of_versions()

    versions.drop_old(in_process.engine, keep=1)
    assert table not in in_process.tables_of_versions()


def test_several_sweepers_at_once_make_them_all(in_process: InProcess) -> None:
    job = in_process.run()

    with ThreadPoolExecutor(3) as sweepers:
        list(sweepers.map(lambda _: _make(in_process), range(3)))

    wait_until(lambda: _indexed(in_process, job) == set(indices.KEYS), "the indices are there")


def test_a_disk_that_is_nearly_full_gets_none(in_process: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    job = in_process.run()
    in_process.settings.state_dir.mkdir(exist_ok=True)
    embedded = replace(in_process, settings=replace(in_process.settings, database_is_embedded=True))
    monkeypatch.setattr(disk, "SHARE", 1)
    monkeypatch.setattr(disk, "LEFT_TO_DATABASE_BYTES_MAX", 1 << 60)

    _make(embedded)
    assert _indexed(in_process, job) == set()

    monkeypatch.undo()
    monkeypatch.setattr(indices, "_LARGE_BYTES", 0)
    _make(embedded)
    assert _indexed(in_process, job) == set(indices.KEYS)
