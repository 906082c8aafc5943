"""The schema: one call brings any database up to date, whoever else calls it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import ibis.expr.types as ir
import pytest
import sqlalchemy as sa
import uuid6
from alembic.config import Config
from alembic.script import ScriptDirectory
from flask.testing import FlaskClient

from api import create_app
from etl import features, pipeline, queries, schema
from etl.features import SUMMARY_CATALOGUE, USER_CATALOGUE, Catalogue, Tables
from tests.conftest import InProcess, end
from tests.servers import wait_until
from worker import database, jobs, migrations, versions
from worker.settings import Settings
from worker.tasks import Runner

SCHEMA = """
    SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
    WHERE table_schema = 'public' ORDER BY table_name, ordinal_position
"""


@pytest.fixture
def new_database(postgres: str) -> Iterator[sa.Engine]:
    """A database with nothing in it."""
    name = f"new_{uuid4().hex}"
    server = database.engine(Settings.from_env({"DATABASE_URL": postgres})).execution_options(
        isolation_level="AUTOCOMMIT"
    )
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine = database.engine(Settings.from_env({"DATABASE_URL": postgres.replace("/postgres?", f"/{name}?")}))
    yield engine
    engine.dispose()
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


def _schema(engine: sa.Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.text(SCHEMA)).mappings()]


def _revision(engine: sa.Engine) -> str:
    with engine.connect() as connection:
        return str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one())


def test_the_head_of_the_code_is_the_head_that_alembic_finds() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))

    assert ScriptDirectory.from_config(config).get_heads() == [database.HEAD]


def test_a_new_database_gets_the_whole_schema(new_database: sa.Engine, engine: sa.Engine) -> None:
    migrations.upgrade(new_database)

    assert _revision(new_database) == database.HEAD
    assert _schema(new_database) == _schema(engine)


def test_a_second_upgrade_changes_nothing(in_process: InProcess) -> None:
    in_process.run()
    before = _schema(in_process.engine), in_process.query("SELECT * FROM user_features ORDER BY user_id")

    migrations.upgrade(in_process.engine)

    assert (_schema(in_process.engine), in_process.query("SELECT * FROM user_features ORDER BY user_id")) == before


def test_a_database_of_a_newer_program_is_refused(new_database: sa.Engine) -> None:
    migrations.upgrade(new_database)
    with new_database.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(migrations.NewerDatabase, match=r"revision 9999, which a newer version"):
        migrations.upgrade(new_database)


def test_an_upgrade_that_fails_leaves_nothing(new_database: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patched:
        patched.setattr(schema, "synchronize", fail)
        with pytest.raises(RuntimeError, match="out of luck"):
            migrations.upgrade(new_database)

    assert _schema(new_database) == []
    migrations.upgrade(new_database)
    assert _revision(new_database) == database.HEAD


def _upgrade_to(engine: sa.Engine, revision: str) -> None:
    """Make the database that a program of an older revision has left behind."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(database, "HEAD", revision)
        migrations.upgrade(engine)


def _enter_version(engine: sa.Engine, dataset: str) -> UUID:
    """A published version without users, as the program of revision 0001 made it."""
    job_id: UUID = uuid6.uuid7()
    partition = f'"user_feature_versions_{job_id.hex}"'
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO datasets (name) VALUES (:dataset)",
            "INSERT INTO jobs (id, dataset, mode, engine, force, max_rejected_ratio, state, outcome, finished_at)"
            " VALUES (:id, :dataset, 'publish', 'duckdb', false, 1, 'succeeded', 'published', now())",
            f"CREATE TABLE {partition} PARTITION OF user_feature_versions FOR VALUES IN ('{job_id}')",
            "INSERT INTO dataset_versions (job_id, dataset, fingerprint) VALUES (:id, :dataset, 'x')",
            "UPDATE datasets SET published_job_id = :id WHERE name = :dataset",
        ):
            connection.execute(sa.text(statement), {"id": job_id, "dataset": dataset})
    return job_id


def test_a_database_of_the_first_revision_is_upgraded_with_all_that_it_holds(new_database: sa.Engine) -> None:
    _upgrade_to(new_database, "0001")
    published = _enter_version(new_database, "default")

    migrations.upgrade(new_database)

    assert _revision(new_database) == database.HEAD
    with new_database.connect() as connection:
        assert jobs.get(connection, published).outcome_detail is None
        versions = connection.execute(sa.text("SELECT job_id, outcome FROM dataset_versions")).all()
        pointer = connection.execute(sa.text("SELECT published_job_id FROM datasets")).scalar_one()
    assert (versions, pointer) == ([(published, "published")], published)


def test_a_database_that_an_older_program_left_behind_is_read_and_gone_on_with(
    new_database: sa.Engine, in_process: InProcess
) -> None:
    with new_database.begin() as connection:
        database.driver_connection(connection).cursor().execute(
            (Path(__file__).parent / "databases/0003.sql").read_text() + "SET search_path TO DEFAULT"
        )
    settings = replace(in_process.settings, database_url=new_database.url.render_as_string(hide_password=False))
    runner = Runner(settings, new_database, in_process.runner.app, worker="new")
    upgraded = InProcess(settings, new_database, runner)

    migrations.upgrade(new_database)

    [summary] = upgraded.query("SELECT * FROM experiment_summary")
    assert (summary["total_users"], summary["total_experiments"]) == (14, 38)
    [lost] = upgraded.query("SELECT id FROM jobs WHERE state = 'running'")
    with new_database.begin() as connection:
        assert jobs.take_back_lost(connection) == [lost["id"]]
    upgraded.execute("UPDATE jobs SET due_at = created_at WHERE state = 'queued'")  # a little later it would be due
    runner.run_job(str(lost["id"]))
    upgraded.run(force=True)
    summaries = upgraded.query("SELECT total_experiments FROM dataset_versions ORDER BY computed_at")
    assert [summary["total_experiments"] for summary in summaries] == [37, 38, 38, 37, 37]
    oldest = upgraded.query("SELECT job_id FROM dataset_versions ORDER BY computed_at")[0]["job_id"]
    app = create_app(settings)
    with app.test_client() as client:
        back = client.put("/api/v1/datasets/default/publication", json={"job_id": str(oldest)})
    end(app)
    assert (back.status_code, upgraded.published()) == (200, oldest)


@pytest.mark.parametrize("after", ["detach", "drop"])
def test_a_version_that_was_being_dropped_before_the_upgrade_is_dropped_after_it(
    new_database: sa.Engine, after: str
) -> None:
    _upgrade_to(new_database, "0001")
    published, going = _enter_version(new_database, "default"), _enter_version(new_database, "second")
    partition = f'"user_feature_versions_{going.hex}"'
    with new_database.begin() as connection:
        connection.execute(sa.text("UPDATE datasets SET published_job_id = NULL WHERE name = 'second'"))
        connection.execute(sa.text(f"ALTER TABLE user_feature_versions DETACH PARTITION {partition}"))
        if after == "drop":
            connection.execute(sa.text(f"DROP TABLE {partition}"))

    migrations.upgrade(new_database)
    versions.drop_old(new_database, keep=1)

    with new_database.connect() as connection:
        kept = connection.execute(sa.text("SELECT job_id FROM dataset_versions")).scalars().all()
        assert (kept, connection.scalar(sa.text(f"SELECT to_regclass('{partition}')"))) == ([published], None)


def test_an_upgraded_database_is_like_a_new_one(new_database: sa.Engine, engine: sa.Engine) -> None:
    _upgrade_to(new_database, "0001")

    migrations.upgrade(new_database)

    def columns(engine: sa.Engine) -> list[dict[str, Any]]:
        return sorted(_schema(engine), key=lambda column: (column["table_name"], column["column_name"]))

    assert columns(new_database) == columns(engine)


def test_two_workers_that_start_at_the_same_moment_upgrade_once(new_database: sa.Engine) -> None:
    """Both are held at the lock until both have come; then one works and the other finds it done."""
    with ThreadPoolExecutor() as threads:
        with new_database.begin() as connection:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": migrations._LOCK})
            upgrades = [threads.submit(migrations.upgrade, new_database) for _ in range(2)]
            wait_until(lambda: _waiting(connection) == 2 or any(up.done() for up in upgrades), "both wait")
            assert _waiting(connection) == 2
        for upgrade in upgrades:
            upgrade.result(30)

    assert _revision(new_database) == database.HEAD


def _waiting(connection: sa.Connection) -> int:
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    return int(connection.execute(sa.text(query)).scalar_one())


# --- a new feature


@contextmanager
def _new_features() -> Iterator[None]:
    """Two functions more in etl/features.py, as a process would see them that started with that file."""
    catalogues: tuple[Catalogue, ...] = (USER_CATALOGUE, SUMMARY_CATALOGUE)
    before = [list(catalogue.features) for catalogue in catalogues]

    @features.feature(longest_run_time="double precision")
    def longest(t: Tables) -> ir.Table:
        return t.experiments.group_by("user_id").agg(longest_run_time=t.experiments.experiment_run_time.max())

    @features.summary(total_compounds="bigint")
    def compounds_in_all(t: Tables) -> ir.Scalar:
        return t.compounds.count()

    queries.forget()
    try:
        yield
    finally:
        for catalogue, registered in zip(catalogues, before, strict=True):
            catalogue.features[:] = registered
        queries.forget()


def test_a_new_feature_is_a_column_that_older_versions_leave_empty(in_process: InProcess, client: FlaskClient) -> None:
    """On a database that holds a published version, with no edit but the function; the old version stays readable."""
    old = in_process.run()
    before = in_process.query("SELECT * FROM user_features ORDER BY user_id")

    with _new_features():
        migrations.upgrade(in_process.engine)

        after = in_process.query("SELECT * FROM user_features ORDER BY user_id")
        assert [{name: row[name] for name in before[0]} for row in after] == before
        assert {row["longest_run_time"] for row in after} == {None}
        [summary] = in_process.query("SELECT * FROM experiment_summary")
        assert (summary["job_id"], summary["total_compounds"]) == (old.id, None)
        assert client.get("/api/v1/features/3").get_json()["longest_run_time"] is None
        assert client.get("/api/v1/summary").get_json()["total_compounds"] is None


def test_a_new_feature_is_published_by_the_next_job(
    in_process: InProcess, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = in_process.run()

    with _new_features():
        migrations.upgrade(in_process.engine)
        monkeypatch.setattr(pipeline, "version", lambda: "with the new features")  # of a file on disk, unchanged here
        new = in_process.run()

        assert (new.state, new.outcome) == ("succeeded", "published"), new.error_detail
        page = client.get("/api/v1/features").get_json()["items"]
        assert {row["user_id"]: row["longest_run_time"] for row in page}[3] == 30.5
        assert list(page[0]) == [
            "dataset",
            "user_id",
            "name",
            "email",
            "signup_date",
            *USER_CATALOGUE.columns,
            "job_id",
            "computed_at",
        ]
        assert client.get("/api/v1/summary").get_json()["total_compounds"] == 12
        old_page = client.get(f"/api/v1/features?job={old.id}").get_json()["items"]
        assert {row["longest_run_time"] for row in old_page} == {None}
        diff = client.get(f"/api/v1/jobs/{new.id}/diff?against={old.id}").get_json()["items"]
        assert {item["user_id"]: item["columns"] for item in diff}[3] == {
            "longest_run_time": {"old": None, "new": 30.5}
        }


def test_a_feature_that_left_the_catalogue_leaves_the_views_and_loses_no_data(in_process: InProcess) -> None:
    with _new_features():
        migrations.upgrade(in_process.engine)
        job = in_process.run()
        assert job.outcome == "published"

    migrations.upgrade(in_process.engine)

    assert "longest_run_time" not in in_process.query("SELECT * FROM user_features LIMIT 1")[0]
    [row] = in_process.query("SELECT longest_run_time FROM user_feature_versions WHERE user_id = 3")
    assert row["longest_run_time"] == 30.5
    assert in_process.run(force=True).outcome == "published"
