"""The engine that is open before there is a job for it."""

from dataclasses import replace
from pathlib import Path

import pytest

from etl.embedded import DuckDB
from tests.conftest import InProcess
from worker.engines import Engines
from worker.settings import Settings


def _open(settings: Settings) -> set[Path]:
    """The directories of the engines that are open."""
    return set(settings.spill_dir.iterdir())


def test_the_engine_that_is_ready_is_lent_once_and_closed(settings: Settings) -> None:
    engines = Engines(settings)
    engines.get_ready()
    [ready] = _open(settings)
    kept = engines._ready  # or it would be closed when nobody knows it any more
    engines.get_ready()

    with engines.lent("duckdb") as engine:
        assert isinstance(engine, DuckDB)
        assert engine.spill_directory == ready
        with engines.lent("duckdb") as another:
            assert isinstance(another, DuckDB)
            assert another.spill_directory != ready
        assert _open(settings) == {ready}
    assert _open(settings) == set()
    with pytest.raises(Exception, match="closed"):
        engine.execute("SELECT 1")
    del kept


def test_the_engine_that_was_ready_is_closed_also_where_its_job_fails(settings: Settings) -> None:
    engines = Engines(settings)
    engines.get_ready()

    with pytest.raises(ZeroDivisionError), engines.lent("duckdb"):
        raise ZeroDivisionError

    assert _open(settings) == set()


def test_an_engine_that_cannot_be_opened_ahead_is_opened_by_its_job(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    engines = Engines(settings)
    settings.spill_dir.parent.mkdir(exist_ok=True)
    settings.spill_dir.write_text("in the way")

    engines.get_ready()

    assert "the next job has to open its engine" in caplog.text
    settings.spill_dir.unlink()
    with engines.lent("duckdb"):
        assert len(_open(settings)) == 1


def test_a_job_takes_the_engine_that_is_ready(in_process: InProcess) -> None:
    in_process.runner.engines.get_ready()

    assert in_process.run().outcome == "published"

    assert _open(in_process.settings) == set()


def test_no_engine_is_opened_ahead_where_jobs_run_on_a_cluster(settings: Settings) -> None:
    engines = Engines(replace(settings, etl_engine="spark", spark_remote="sc://127.0.0.1:1"))

    engines.get_ready()

    assert not settings.spill_dir.exists()
