"""The pipeline as a test runs it: files in a folder -> a version in a real Postgres."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg2.extensions
import pytest
import sqlalchemy as sa
import uuid6

from etl import embedded, engines, pipeline, publish
from etl.embedded import DuckDB
from etl.files import Dataset
from etl.pipeline import Result
from etl.progress import Progress
from worker import database
from worker.settings import Settings


@contextmanager
def no_stage(_name: str) -> Iterator[Progress]:
    yield lambda _done, _total, _unit: None


@pytest.fixture
def etl_engine(tmp_path: Path) -> Iterator[DuckDB]:
    spill = tmp_path / "spill"
    spill.mkdir()
    with DuckDB.connect(memory_bytes=1 << 29, threads=2, spill_directory=spill) as engine:
        yield engine


def dataset_in(directory: Path, *, file_bytes_max: int = 64 << 30) -> Dataset:
    return Dataset(directory, file_bytes_max)


@dataclass(frozen=True)
class Service:
    """Runs the pipeline on a dataset's files and reads what it published."""

    engine: sa.Engine
    spill_directory: Path

    def new_job(self, dataset: str = "default") -> UUID:
        """Insert the ledger's row that a version belongs to."""
        job_id: UUID = uuid6.uuid7()
        with self.engine.begin() as connection:
            connection.execute(sa.text("INSERT INTO datasets VALUES (:d) ON CONFLICT DO NOTHING"), {"d": dataset})
            connection.execute(
                sa.text(
                    "INSERT INTO jobs (id, dataset, mode, engine, force, max_rejected_ratio)"
                    " VALUES (:id, :dataset, 'publish', 'duckdb', false, 1)"
                ),
                {"id": job_id, "dataset": dataset},
            )
        return job_id

    def run(
        self,
        directory: Path,
        *,
        job_id: UUID | None = None,
        dataset: str = "default",
        publication: publish.Publication = publish.publish,
        max_rejected_ratio: float = 1,
        before_commit: Callable[[psycopg2.extensions.connection], object] = lambda _connection: None,
    ) -> Result:
        results: list[Result] = []

        def finish(connection: psycopg2.extensions.connection, result: Result) -> None:
            results.append(result)
            before_commit(connection)

        with engines.connect(
            "duckdb", memory_bytes=1 << 29, threads=2, spill_directory=self.spill_directory
        ) as etl_engine:
            pipeline.run(
                job_id=job_id or self.new_job(dataset),
                dataset=dataset,
                files=dataset_in(directory),
                engine=etl_engine,
                transaction=self.transaction,
                publication=publication,
                finish=finish,
                max_rejected_ratio=max_rejected_ratio,
                on_stage=no_stage,
            )
        return results[0]

    @contextmanager
    def transaction(self) -> Iterator[psycopg2.extensions.connection]:
        with self.engine.begin() as connection:
            yield database.driver_connection(connection)

    @contextmanager
    def trial(self, directory: Path, job_id: UUID, etl_engine: DuckDB) -> Iterator[tuple[Result, sa.Connection]]:
        """Run in a transaction that sees what is published and of which nothing stays, here and in the engine."""
        results: list[Result] = []
        etl_engine._connection.begin()
        try:
            with self.engine.connect() as connection:
                pipeline.run(
                    job_id=job_id,
                    dataset="default",
                    files=dataset_in(directory),
                    engine=etl_engine,
                    transaction=lambda: nullcontext(database.driver_connection(connection)),
                    publication=publish.publish,
                    finish=lambda _, result: results.append(result),
                    max_rejected_ratio=1,
                    on_stage=no_stage,
                )
                yield results[0], connection
                connection.rollback()
        finally:
            etl_engine._connection.rollback()

    def query(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.text(statement), values).mappings()]

    def features(self) -> list[dict[str, Any]]:
        """The published rows without what differs from job to job."""
        rows = self.query("SELECT * FROM user_features ORDER BY user_id")
        return [{name: row[name] for name in row if name not in ("job_id", "computed_at")} for row in rows]

    def summary(self) -> dict[str, Any]:
        [row] = self.query("SELECT * FROM experiment_summary")
        return {name: row[name] for name in row if name not in ("job_id", "computed_at")}

    def rejections(self) -> list[tuple[str, int, str | None, str, str | None]]:
        rows = self.query('SELECT file, line, "column", code, value FROM rejections ORDER BY id')
        return [tuple(row.values()) for row in rows]


@pytest.fixture
def service(engine: sa.Engine, settings: Settings, tmp_path: Path) -> Service:
    assert settings.database_url
    return Service(engine, tmp_path / "spill")


def write(directory: Path, **contents: str) -> Path:
    """Write users.csv, compounds.csv and user_experiments.csv; a file that is not given has one valid line."""
    directory.mkdir(parents=True, exist_ok=True)
    files = {
        "users": "user_id,name,email,signup_date\n1,Ann,ann@example.com,2024-01-01\n",
        "compounds": "compound_id,compound_name,compound_structure\n1,Water,O\n",
        "user_experiments": "experiment_id,user_id,experiment_compound_ids,experiment_run_time\n1,1,1,1.5\n",
    } | contents
    for name, content in files.items():
        (directory / f"{name}.csv").write_bytes(content.encode())
    return directory


@pytest.fixture(params=[embedded.FEW_ROWS, -1], ids=["as few rows", "as many rows"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test in both of the embedded engine's ways, however many rows there are."""
    monkeypatch.setattr(embedded, "FEW_ROWS", request.param)
    if request.param < 0:
        monkeypatch.setattr(embedded, "SLICE_USERS", 10)
