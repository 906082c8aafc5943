"""The features, against their definitions and against an independent computation in pandas."""

import math
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.features import Catalogue, Feature
from tests.etl.conftest import Service, write

USERS = "user_id,name,email,signup_date\n"
COMPOUNDS = "compound_id,compound_name,compound_structure\n"
EXPERIMENTS = "experiment_id,user_id,experiment_compound_ids,experiment_run_time\n"


def _users(*ids: int) -> str:
    return USERS + "".join(f"{id_},u{id_},u{id_}@example.com,2024-01-0{1 + id_ % 9}\n" for id_ in ids)


def _compounds(*ids: int) -> str:
    return COMPOUNDS + "".join(f"{id_},c{id_},C{id_}\n" for id_ in ids)


def _published(
    service: Service, folder: Path, experiments: list[tuple[int, str, float]]
) -> dict[int, dict[str, object]]:
    lines = [f"{number},{user},{ids},{time}\n" for number, (user, ids, time) in enumerate(experiments, start=1)]
    write(folder, users=_users(1, 2, 3), compounds=_compounds(2, 3, 10), user_experiments=EXPERIMENTS + "".join(lines))
    service.run(folder)
    return {row["user_id"]: row for row in service.features()}


def test_a_user_without_experiments_keeps_a_row(service: Service, tmp_path: Path) -> None:
    rows = _published(service, tmp_path, [(1, "2", 1.0)])

    assert set(rows) == {1, 2, 3}
    assert rows[2] == {
        "dataset": "default",
        "user_id": 2,
        "name": "u2",
        "email": "u2@example.com",
        "signup_date": rows[2]["signup_date"],
        "total_experiments": 0,
        "average_run_time": None,
        "most_common_compound_id": None,
        "most_common_compound_name": None,
        "most_common_compound_uses": None,
        "most_common_compound_ids": None,
        "experiment_share": 0.0,
    }


def test_a_tie_goes_to_the_lowest_id_and_all_that_tie_are_listed(service: Service, tmp_path: Path) -> None:
    rows = _published(service, tmp_path, [(1, "10;3", 1.0), (1, "3;10", 2.0), (1, "2", 3.0)])

    assert rows[1]["most_common_compound_id"] == 3  # as numbers: as text, 10 would come first
    assert rows[1]["most_common_compound_name"] == "c3"
    assert rows[1]["most_common_compound_uses"] == 2
    assert rows[1]["most_common_compound_ids"] == [3, 10]


def test_a_compound_counts_once_per_experiment(service: Service, tmp_path: Path) -> None:
    rows = _published(service, tmp_path, [(1, "10;10;10", 1.0), (1, "3;10", 1.0), (1, "3", 1.0), (1, "3", 1.0)])

    assert (rows[1]["most_common_compound_id"], rows[1]["most_common_compound_uses"]) == (3, 3)


def test_an_experiment_without_compounds_counts(service: Service, tmp_path: Path) -> None:
    rows = _published(service, tmp_path, [(1, "", 4.0), (1, "2", 2.0)])

    assert (rows[1]["total_experiments"], rows[1]["average_run_time"]) == (2, 3.0)
    assert service.summary()["average_compounds_per_experiment"] == 0.5


def test_the_averages_per_user_differ_by_who_is_counted(service: Service, tmp_path: Path) -> None:
    _published(service, tmp_path, [(1, "2", 1.0), (1, "2", 1.0), (2, "2;3", 1.0)])

    assert service.summary() == {
        "dataset": "default",
        "total_users": 3,
        "active_users": 2,
        "total_experiments": 3,
        "average_experiments_per_user": 1.0,
        "average_experiments_per_active_user": 1.5,
        "average_compounds_per_experiment": pytest.approx(4 / 3),
    }


def test_an_average_of_the_largest_numbers_is_no_infinity(service: Service, tmp_path: Path) -> None:
    rows = _published(service, tmp_path, [(1, "2", 1e308), (1, "2", 1.7e308), (2, "2", 0.1), (2, "2", 0.2)])

    assert rows[1]["average_run_time"] == pytest.approx(1.35e308)
    assert rows[2]["average_run_time"] == pytest.approx(0.15, rel=1e-15)


def test_the_same_files_come_to_the_same_numbers(service: Service, tmp_path: Path) -> None:
    """Two threads share this many lines, and the first to be ready is another one each time."""
    runs = [(1 + n % 2, "2", n * 7919 % 100_003 / 100) for n in range(400_000)]
    first = _published(service, tmp_path, runs)

    for _ in range(2):
        service.run(tmp_path)
        assert {row["user_id"]: row["average_run_time"] for row in service.features()} == {
            user_id: row["average_run_time"] for user_id, row in first.items()
        }
    for user_id in (1, 2):
        times = [run_time for user, _, run_time in runs if user == user_id]
        assert first[user_id]["average_run_time"] == pytest.approx(math.fsum(times) / len(times), rel=1e-15)


def test_shares_are_null_when_there_are_no_experiments_at_all(service: Service, tmp_path: Path) -> None:
    rows = _published(service, tmp_path, [])

    assert [row["experiment_share"] for row in rows.values()] == [None, None, None]
    assert service.summary()["average_experiments_per_user"] == 0.0
    assert service.summary()["average_experiments_per_active_user"] is None


def test_a_dataset_without_users_has_a_summary_of_nulls(service: Service, tmp_path: Path) -> None:
    write(tmp_path, users=USERS, user_experiments=EXPERIMENTS)
    service.run(tmp_path)

    assert service.features() == []
    assert service.summary()["total_users"] == 0
    assert service.summary()["average_experiments_per_user"] is None


IDS = st.integers(-(2**63), 2**63 - 1)
EXPERIMENT = st.tuples(st.integers(0, 5), st.lists(st.integers(0, 6), max_size=6), st.integers(0, 10**6))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    user_ids=st.lists(IDS, min_size=6, max_size=6, unique=True),
    compound_ids=st.lists(IDS, min_size=7, max_size=7, unique=True),
    experiments=st.lists(EXPERIMENT, max_size=40),
)
def test_the_features_equal_a_computation_in_pandas(
    user_ids: list[int],
    compound_ids: list[int],
    experiments: list[tuple[int, list[int], int]],
    service: Service,
    tmp_path: Path,
) -> None:
    runs = [(user_ids[user], [compound_ids[at] for at in items], time) for user, items, time in experiments]
    lines = [f"{number},{user},{';'.join(map(str, items))},{time}\n" for number, (user, items, time) in enumerate(runs)]
    write(
        tmp_path,
        users=USERS + "".join(f"{id_},n,e,2024-01-01\n" for id_ in user_ids),
        compounds=COMPOUNDS + "".join(f"{id_},n{id_},s\n" for id_ in compound_ids),
        user_experiments=EXPERIMENTS + "".join(lines),
    )

    # The example before had other users: beside it this one would be held.
    with service.engine.begin() as connection:
        connection.execute(sa.text("UPDATE datasets SET published_job_id = NULL"))

    assert service.run(tmp_path, max_rejected_ratio=0).outcome.name == "published"

    frame = pd.DataFrame(runs, columns=["user", "items", "time"])
    for row in service.features():
        mine = frame[frame["user"] == row["user_id"]]
        uses = pd.Series([item for items in mine["items"] for item in set(items)], dtype="int64").value_counts()
        tied = sorted(int(id_) for id_ in uses[uses == uses.max()].index)
        assert row["total_experiments"] == len(mine)
        assert row["average_run_time"] == (pytest.approx(mine["time"].mean()) if len(mine) else None)
        assert row["experiment_share"] == (pytest.approx(len(mine) / len(frame)) if len(frame) else None)
        assert row["most_common_compound_ids"] == (tied or None)
        assert row["most_common_compound_id"] == (tied[0] if tied else None)
        assert row["most_common_compound_name"] == (f"n{tied[0]}" if tied else None)
        assert row["most_common_compound_uses"] == (int(uses.max()) if tied else None)
    assert {row["user_id"] for row in service.features()} == set(user_ids)


def test_the_catalogue_refuses_a_column_twice_and_an_unknown_type() -> None:
    catalogue = Catalogue()
    catalogue.register(Feature(lambda _tables: None, {"one": "bigint"}))

    with pytest.raises(ValueError, match="'one' is declared twice"):
        catalogue.register(Feature(lambda _tables: None, {"one": "bigint"}))
    with pytest.raises(ValueError, match="'money' is none of"):
        catalogue.register(Feature(lambda _tables: None, {"two": "money"}))
