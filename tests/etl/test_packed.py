"""The embedded engine's own way to the most common compound: against a count of each, and against its definition."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etl import features, packed, validate
from etl.embedded import DuckDB
from etl.errors import Transient
from etl.extract import extract
from etl.progress import unheard
from etl.queries import Query
from tests.bench.generate import Distribution, generate
from tests.etl.conftest import dataset_in

Result = dict[int, tuple[int, list[int]]]


def random_experiments(
    random: np.random.Generator, users: np.ndarray, compounds: np.ndarray
) -> list[packed.Experiments]:
    """Some batches; among the compounds are two that do not count."""
    batches = []
    listed = np.concatenate([compounds, [1, -(10**18) - 1]])
    for _ in range(random.integers(0, 4)):
        rows = random.integers(0, 30)
        sizes = random.integers(0, 4, rows)
        batches.append(packed.Experiments(random.choice(users, rows), sizes, random.choice(listed, sizes.sum())))
    return batches


def counted(compounds: np.ndarray, batches: list[packed.Experiments]) -> Result:
    known = set(compounds.tolist())
    counts: dict[int, Counter[int]] = defaultdict(Counter)
    for batch in batches:
        for user, compound in zip(
            np.repeat(batch.user_ids, batch.sizes).tolist(), batch.compound_ids.tolist(), strict=True
        ):
            if compound in known:
                counts[user][compound] += 1
    return {
        user: (max(of.values()), sorted(compound for compound in of if of[compound] == max(of.values())))
        for user, of in counts.items()
    }


def found(users: np.ndarray, compounds: np.ndarray, batches: list[packed.Experiments], directory: Path) -> Result:
    result: Result = {}
    parts = packed.most_common(
        users,
        np.array([sum(int((of.user_ids == user).sum()) for of in batches) for user in users]),
        compounds,
        iter(batches),
        uses=sum(int(np.isin(batch.compound_ids, compounds).sum()) for batch in batches),
        directory=directory,
    )
    for part in parts:
        ends = np.cumsum(part.sizes)
        for user, uses, places in zip(part.user_ids, part.uses, np.split(part.compounds, ends[:-1]), strict=True):
            assert user not in result, "a user is told once"
            result[int(user)] = (int(uses), np.sort(compounds)[places].tolist())
    assert list(result) == sorted(result)
    return result


@pytest.mark.parametrize("spread", [100, 10**18])
@pytest.mark.parametrize("part_bytes", [16, 200, 1 << 27])
@pytest.mark.parametrize("slice_keys", [1, 7, 1 << 21])
@pytest.mark.parametrize("short_keys", [1, 1 << 32])
def test_every_user_gets_what_counting_gives(
    spread: int, part_bytes: int, slice_keys: int, short_keys: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys short or long, sorted in memory or in files; ids close together or far from each other."""
    monkeypatch.setattr(packed, "_SHORT_KEYS", short_keys)
    monkeypatch.setattr(packed, "PART_BYTES", part_bytes)
    monkeypatch.setattr(packed, "_SLICE_KEYS", slice_keys)
    random = np.random.default_rng(1)
    for _ in range(40):
        users = np.unique(random.integers(-spread, spread, random.integers(1, 9)))
        compounds = np.unique(random.integers(-spread, spread, random.integers(1, 7)))
        batches = random_experiments(random, users, compounds)

        assert found(users, compounds, batches, tmp_path) == counted(compounds, batches)
    assert list(tmp_path.iterdir()) == []


def test_parts_are_of_one_size_however_unevenly_uses_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "PART_BYTES", 4 * 100)
    users = np.arange(1000)
    uses = np.where(users < 20, 50, 0)
    keys = packed._Keys(packed.Codes(users), packed.Codes(np.arange(10)))

    keys.part(int(uses.sum()), users, uses)

    assert max(map(np.sum, np.split(uses, keys.firsts[1:]))) <= 150
    assert len(keys.firsts) == 10


def test_keys_that_are_too_long_for_all_users_at_once_are_short_in_parts() -> None:
    users, compounds = np.arange(100), np.arange(1 << 26)
    keys = packed._Keys(packed.Codes(users), packed.Codes(compounds))
    assert keys.dtype == np.uint64

    keys.part(100, users, np.ones(100))

    assert keys.dtype == np.uint32
    batch = packed.Experiments(users, np.ones(100, np.int64), compounds[-100:])
    assert [len(of_part) for of_part in keys.of(batch)] == [50, 50]


def test_every_own_way_is_to_a_step_that_there_is() -> None:
    assert set(DuckDB.own_ways) <= {step.name for steps in (validate.steps, features.steps) for step in steps()}


def test_no_compound_counts_where_none_is_accepted(tmp_path: Path) -> None:
    batch = packed.Experiments(np.array([7]), np.array([2]), np.array([1, 2]))

    assert found(np.array([7]), np.array([], np.int64), [batch], tmp_path) == {}


def test_work_that_is_interrupted_ends(tmp_path: Path, etl_engine: DuckDB) -> None:
    batch = packed.Experiments(np.array([7]), np.array([1]), np.array([1]))
    etl_engine.interrupt()

    with pytest.raises(Transient, match="interrupted"):
        list(
            packed.most_common(
                np.array([7]),
                np.array([1]),
                np.array([1]),
                iter([batch]),
                uses=1,
                directory=tmp_path,
                check=etl_engine.refuse_interruption,
            )
        )


@pytest.mark.parametrize("distribution", [Distribution(), Distribution(favourites=5), Distribution(to_one_user=0.5)])
def test_the_own_way_comes_to_what_the_definition_says(
    distribution: Distribution, tmp_path: Path, etl_engine: DuckDB
) -> None:
    generate(tmp_path, experiments=5_000, users=100, compounds=30, shuffled=True, seed=3, distribution=distribution)
    extract(dataset_in(tmp_path), etl_engine, unheard)
    etl_engine.make(validate.steps, unheard)
    name = "feature_most_common_compound_id"
    steps = {step.name: step for step in features.steps()}

    def defined() -> Iterator[validate.Step]:
        yield steps["experiments_per_user"]
        yield steps[name]._replace(name="defined")

    etl_engine.make(defined, unheard)
    shares: list[float] = []
    packed.make_most_common_compound(etl_engine, Query(name, "of no use here"), shares.append)

    def rows(table: str) -> list[Any]:
        columns = ", ".join(steps[name].expression.columns)
        found: list[Any] = etl_engine.table(f"SELECT {columns} FROM {table} ORDER BY user_id").to_pylist()  # noqa: S608
        return found

    assert rows(name) == rows("defined")
    assert len(rows(name)) == 100
    assert shares == sorted(shares)
    assert shares[-1] == 1
