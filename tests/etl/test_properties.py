"""Random datasets with faults planted at known lines: the pipeline tells each of them, and computes what is right."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings

from etl.embedded import DuckDB
from tests.etl.conftest import Service
from tests.etl.datasets import Planted, datasets
from tests.etl.recompute import Rejection, recompute


class Outcome(NamedTuple):
    """What a run published and rejected, and the number of duplicates per file."""

    features: list[dict[str, Any]]
    summary: dict[str, Any]
    rejections: list[Rejection]
    duplicates: dict[str, int]


def _outcome(service: Service, engine: DuckDB, job_id: UUID, folder: Path) -> Outcome:
    with service.trial(folder, job_id, engine) as (result, connection):
        features = connection.execute(sa.text("SELECT * FROM user_features ORDER BY user_id")).mappings().all()
        summary = connection.execute(sa.text("SELECT * FROM experiment_summary")).mappings().one()
        rejections = connection.execute(sa.text('SELECT file, line, "column", code, value FROM rejections')).all()
    return Outcome(
        [_without_job(row) for row in features],
        _without_job(summary),
        sorted(map(tuple, rejections), key=str),
        {account.file: account.duplicate for account in result.accounts},
    )


def _without_job(row: Any) -> dict[str, Any]:
    return {name: row[name] for name in row if name not in ("dataset", "job_id", "computed_at")}


@pytest.fixture
def job_id(service: Service) -> UUID:
    return service.new_job()


# With CI set, hypothesis is deterministic by itself; otherwise it remembers what failed. It may shrink for 5 minutes.
@pytest.mark.exhaustive
@pytest.mark.timeout(600)
@settings(
    max_examples=500,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@pytest.mark.usefixtures("way")
@given(planted=datasets())
def test_every_planted_fault_is_told_and_the_rest_is_computed_right(
    planted: Planted, job_id: UUID, service: Service, etl_engine: DuckDB
) -> None:
    with TemporaryDirectory() as directory:
        folder = planted.write(Path(directory) / "dataset")
        outcome = _outcome(service, etl_engine, job_id, folder)
        expected = recompute(folder)

    assert outcome.rejections == sorted(planted.rejections, key=str)
    assert outcome.rejections == sorted(expected.rejections, key=str)
    assert outcome.duplicates == planted.duplicates
    assert outcome.summary == expected.summary
    assert outcome.features == [
        row | {"average_run_time": pytest.approx(row["average_run_time"])} for row in expected.features
    ]
