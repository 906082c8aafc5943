"""Datasets made from a seed, as large as a measurement needs: `python -m tests.bench.generate DIR --experiments N`."""

import argparse
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

CHUNK = 1_000_000
_COMPOUNDS_MAX = 5
# How many compounds an experiment uses: 2.3 on average.
_SIZES = np.array([0.25, 0.35, 0.27, 0.11, 0.02])
_OPTIONS = pyarrow.csv.WriteOptions(quoting_style="none")


@dataclass(frozen=True)
class Distribution:
    """Who makes experiments, and with what.

    `to_one_user` is the part of all experiments that one user makes; with `favourites`, each user takes compounds of so
    many only.
    """

    to_one_user: float = 0.0
    favourites: int = 0

    def draw_users(self, rows: int, users: int, random: np.random.Generator) -> np.ndarray:
        drawn = random.integers(1, users + 1, rows)
        return np.where(random.random(rows) < self.to_one_user, users // 2 + 1, drawn) if self.to_one_user else drawn

    def draw_compounds(self, of_users: np.ndarray, compounds: int, random: np.random.Generator) -> np.ndarray:
        if not self.favourites:
            return random.integers(1, compounds + 1, len(of_users))
        return (of_users * 7919 + random.integers(0, self.favourites, len(of_users))) % compounds + 1


EVEN = Distribution()


def generate(
    directory: Path,
    *,
    experiments: int,
    users: int,
    compounds: int,
    shuffled: bool,
    seed: int,
    distribution: Distribution = EVEN,
) -> None:
    """Write the three files, all lines valid; `shuffled`: experiment ids and users in no order."""
    directory.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    _write_users(directory, users, random)
    _write_compounds(directory, compounds)
    ids = np.arange(1, experiments + 1)
    if shuffled:
        random.shuffle(ids)
    with pyarrow.csv.CSVWriter(directory / "user_experiments.csv", _schema(), write_options=_OPTIONS) as writer:
        for start in range(0, experiments, CHUNK):
            chunk = ids[start : start + CHUNK]
            of_users = distribution.draw_users(len(chunk), users, random)
            writer.write(
                pa.table(
                    [
                        chunk,
                        of_users,
                        _lists(of_users, lambda of: distribution.draw_compounds(of, compounds, random), random),
                        random.integers(1, 10_000, len(chunk)) / 10,
                    ],
                    schema=_schema(),
                )
            )


def _schema() -> pa.Schema:
    return pa.schema(
        [
            ("experiment_id", pa.int64()),
            ("user_id", pa.int64()),
            ("experiment_compound_ids", pa.string()),
            ("experiment_run_time", pa.float64()),
        ]
    )


def _lists(
    of_users: np.ndarray, compounds_of: Callable[[np.ndarray], np.ndarray], random: np.random.Generator
) -> pa.Array:
    sizes = random.choice(np.arange(1, _COMPOUNDS_MAX + 1), len(of_users), p=_SIZES / _SIZES.sum())
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    items = pc.cast(pa.array(compounds_of(np.repeat(of_users, sizes))), pa.string())
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items), ";")


def _write_users(directory: Path, users: int, random: np.random.Generator) -> None:
    ids = np.arange(1, users + 1)
    days = np.datetime64("2020-01-01") + random.integers(0, 2000, users)
    text = pc.cast(pa.array(ids), pa.string())
    table = pa.table(
        {
            "user_id": ids,
            "name": pc.binary_join_element_wise("User", text, " "),
            "email": pc.binary_join_element_wise("user", text, "@example.com", ""),
            "signup_date": pa.array(days),
        }
    )
    pyarrow.csv.write_csv(table, directory / "users.csv", _OPTIONS)


def spoil(directory: Path, *, lines: int, seed: int) -> dict[int, str]:
    """Spoil so many lines of user_experiments.csv; return the code that each must be rejected with, by line number."""
    path = directory / "user_experiments.csv"
    content = path.read_bytes().split(b"\n")
    random = np.random.default_rng(seed)
    chosen = random.choice(np.arange(1, len(content) - 1), lines, replace=False)
    planted = {}
    for place, (code, wrong) in zip(chosen.tolist(), itertools.cycle(_FAULTS.items()), strict=False):
        experiment, user, compounds, run_time = content[place].split(b",")
        content[place] = wrong(experiment, user, compounds, run_time)
        planted[place + 1] = code
    path.write_bytes(b"\n".join(content))
    return planted


# Each makes a wrong line of the cells of a right one: experiment, user, compounds, run time.
_FAULTS: dict[str, Callable[[bytes, bytes, bytes, bytes], bytes]] = {
    "invalid_number": lambda e, u, c, _: b",".join([e, u, c, b"long"]),
    "out_of_range": lambda e, u, c, _: b",".join([e, u, c, b"-1"]),
    "missing_value": lambda e, _, c, t: b",".join([e, b"", c, t]),
    "invalid_integer": lambda e, u, c, t: b",".join([e, b"u" + u, c, t]),
    "unknown_user": lambda e, u, c, t: b",".join([e, b"-" + u, c, t]),
    "wrong_field_count": lambda e, u, c, _: b",".join([e, u, c]),
}


def _write_compounds(directory: Path, compounds: int) -> None:
    text = pc.cast(pa.array(np.arange(1, compounds + 1)), pa.string())
    table = pa.table(
        {
            "compound_id": text,
            "compound_name": pc.binary_join_element_wise("Compound", text, " "),
            "compound_structure": pc.binary_join_element_wise("C", text, "H", text, ""),
        }
    )
    pyarrow.csv.write_csv(table, directory / "compounds.csv", _OPTIONS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--experiments", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--compounds", type=int, default=5_000)
    parser.add_argument("--shuffled", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    generate(**vars(given))


if __name__ == "__main__":
    main()
