"""A Spark cluster and the embedded engine come to the same features, counts and rejections."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from etl import account, engines, features, load, ranges, validate
from etl.account import FileAccount
from etl.engines import Engine
from etl.errors import Transient
from etl.extract import extract
from etl.progress import unheard
from tests.bench.generate import generate, spoil
from tests.etl import datasets as cells
from tests.etl.conftest import dataset_in
from tests.etl.datasets import Planted, datasets
from tests.etl.recompute import COLUMNS
from tests.spark import Cluster

# Each job takes Spark half a minute on a small machine, and the first test starts the cluster.
pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]

Rows = list[dict[str, Any]]


class Outcome(NamedTuple):
    """What an engine makes of a dataset."""

    accounts: list[FileAccount]
    users: Rows
    summary: Rows
    rejections: Rows


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """What the cluster shares with the worker."""
    directory = tmp_path / "shared"
    directory.mkdir()
    return directory


@contextmanager
def _engine(name: str, directory: Path, cluster: Cluster) -> Iterator[Engine]:
    with engines.connect(
        name, memory_bytes=1 << 29, threads=2, spill_directory=directory, spark_remote=cluster.remote
    ) as engine:
        yield engine


def _outcome(name: str, folder: Path, cluster: Cluster) -> Outcome:
    with TemporaryDirectory() as directory, _engine(name, Path(directory), cluster) as engine:
        files = extract(dataset_in(folder), engine, unheard)
        engine.make(validate.steps, unheard)
        accounts = account.take(engine, files)
        engine.make(features.steps, unheard)
        users, summary, rejections = (
            [row for batch in engine.stream(rows) for row in batch.to_pylist()]
            for rows in (load.user_rows, features.experiment_summary, account.rejection_rows)
        )
        return Outcome(accounts, sorted(users, key=lambda row: row["user_id"]), summary, rejections)


def _write(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)


def _spellings(value: float) -> list[str]:
    if isinstance(value, int):
        sign, digits = ("-" if value < 0 else ""), str(abs(value))
        return [str(value), f"{sign or '+'}{digits}", f"{sign}00{digits}"]
    return [repr(value), f"{value:.0f}.", f"+{value!r}", f"0{value!r}", f"{value:.17e}", f"{value:.17E}"]


# What is a line break, a blank or the end of a number to Java, and nothing of the kind to others.
_OTHER_ENDS = ["1\u0085", "1\u2028", "1\v", "\u00a01", "1\u00a0"]
_NUMBERS = ["1d", "1F", "0x1p3", "1.7976931348623157e308", "4.9e-324", "1e-400", "+.5", "5.", "-0", "-0.0", "\uff11"]
_DAYS = ["0001-01-01", "9999-12-31", "1582-10-04", "1582-10-10", "1500-02-29", "2024-01-01\u0085", "2024-01-01\v"]


@pytest.fixture
def every_cell(tmp_path: Path) -> Path:
    """A dataset in which each cell that the random ones are made of stands once, good or bad, and more."""
    folder = tmp_path / "cells"
    folder.mkdir()
    ids = [text for id_ in cells.IDS for text in (*_spellings(id_), str(id_))]
    users = [[id_, f"n{at % 4 // 3}", "e", "2024-01-01"] for at, id_ in enumerate(ids)]
    users += [[id_, "n", "e", "2024-01-01"] for id_ in cells.NO_INTEGERS + cells.TOO_LARGE + _OTHER_ENDS]
    users += [[str(1000 + at), "n", "e", day] for at, day in enumerate(cells.NO_DATES + _DAYS)]
    users += [[str(2000 + at), text, text * 99, "2024-01-01"] for at, text in enumerate([*cells.PIECES, "\u2028", "ß"])]
    compounds = [[id_, f"c{id_}", ""] for id_ in ids]
    lists = [
        "1;2",
        "01;2",
        " 1;\t2",
        "2;1",
        "1;1;2",
        "",
        *(f"{item};2;; 3 \t;+04" for item in cells.NO_ITEMS + _OTHER_ENDS),
    ]
    numbers = cells.NO_NUMBERS + cells.NOT_IN_RANGE + _NUMBERS + _OTHER_ENDS
    numbers += [text for value in (0.01, 7.0, 2.0**-40, 1e300, 2.0**35 + 0.1) for text in _spellings(value)]
    experiments = [[str(at), "5", text, "1"] for at, text in enumerate(lists)]
    experiments += [["7", "5", text, "1"] for text in lists[:6]]
    experiments += [[str(1000 + at), str(at % 3 + 1), "1;2", text] for at, text in enumerate(numbers)]
    experiments += [[str(3000 + at), str(at % 9), str(at % 7), repr(at * 0.1)] for at in range(400)]
    for name, lines in (("users", users), ("compounds", compounds), ("user_experiments", experiments)):
        _write(folder / f"{name}.csv", [COLUMNS[name], *lines])
    return folder


def test_every_cell_that_may_be_written_means_the_same(every_cell: Path, spark: Cluster) -> None:
    outcome = _outcome("spark", every_cell, spark)

    assert outcome == _outcome("duckdb", every_cell, spark)
    assert {"invalid_integer", "invalid_number", "invalid_date", "out_of_range", "duplicate_key"} < {
        row["code"] for row in outcome.rejections
    }


# Shrinking would take hours.
@settings(
    max_examples=4,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(planted=datasets())
def test_random_datasets_come_to_the_same(planted: Planted, spark: Cluster) -> None:
    with TemporaryDirectory() as directory:
        folder = planted.write(Path(directory) / "dataset")

        assert _outcome("spark", folder, spark) == _outcome("duckdb", folder, spark)


def test_a_file_that_many_read_comes_to_the_same(
    tmp_path: Path, spark: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "dataset"
    generate(folder, experiments=50_000, users=1000, compounds=100, shuffled=True, seed=1)
    planted = spoil(folder, lines=1000, seed=1)
    monkeypatch.setattr(ranges, "RANGE_BYTES", 256 << 10)

    outcome = _outcome("spark", folder, spark)

    assert outcome == _outcome("duckdb", folder, spark)
    assert {row["line"]: row["code"] for row in outcome.rejections} == planted


def test_an_engine_that_is_interrupted_ends_what_it_is_doing(tmp_path: Path, directory: Path, spark: Cluster) -> None:
    folder = tmp_path / "dataset"
    generate(folder, experiments=1000, users=10, compounds=10, shuffled=True, seed=1)

    def interrupt(done: int, _total: int, _unit: str) -> None:
        if done == 0:
            engine.interrupt()

    with _engine("spark", directory, spark) as engine, pytest.raises(Transient, match="interrupted"):
        extract(dataset_in(folder), engine, interrupt)


def test_a_cluster_that_shares_no_directory_says_so(tmp_path: Path, directory: Path, spark: Cluster) -> None:
    """It looks for the directory under the path by which the worker knows it: this one begins where the worker is."""
    folder = tmp_path / "dataset"
    generate(folder, experiments=10, users=10, compounds=10, shuffled=True, seed=1)
    here = Path.cwd()
    relative = Path(*[".."] * (len(here.parts) - 1), *folder.parts[1:])

    with _engine("spark", directory, spark) as engine, pytest.raises(Transient, match="does not share") as refused:
        extract(dataset_in(relative), engine, unheard)

    assert refused.value.code == "engine_unavailable"
