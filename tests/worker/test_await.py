"""Waiting for a database that is not there yet."""

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.conftest import InProcess
from worker import database
from worker.settings import Settings


def test_a_database_that_answers_is_not_waited_for(in_process: InProcess) -> None:
    database.await_answer(in_process.engine, patience_s=0)


def test_a_database_that_does_not_answer_is_not_waited_for_for_ever(settings: Settings, tmp_path: Path) -> None:
    nowhere = replace(settings, database_url=f"postgresql://etl@/experiment_etl?host={tmp_path}")

    with pytest.raises(sa.exc.OperationalError):
        database.await_answer(database.engine(nowhere), patience_s=0.1)
