"""What the cases feed the service: variants of a dataset, and the checksum of the features that each must come to."""

import hashlib
import shutil
from collections.abc import Callable, Iterable
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench.generate import generate
from tests.conftest import SAMPLE
from tests.etl.recompute import recompute

EXPERIMENTS = "user_experiments.csv"

# One line of text per user; tests/faults/inputs.py writes the same from a second computation of the features.
CHECKSUM = """
    md5(string_agg(concat_ws('|', user_id, name, email, signup_date, total_experiments,
        coalesce(round(average_run_time::numeric, 6)::text, '-'), coalesce(most_common_compound_id::text, '-'),
        coalesce(most_common_compound_name, '-'), coalesce(most_common_compound_uses::text, '-'),
        coalesce(array_to_string(most_common_compound_ids, ','), '-'),
        coalesce(round(experiment_share::numeric, 9)::text, '-')), E'\\n' ORDER BY user_id))
"""


class Inputs:
    """A directory with a dataset of which one file has several variants; the service has it mounted as /data."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.checksums: dict[str, str] = {}  # by the sha256 of the variant
        self._variants: dict[str, bytes] = {}
        directory.chmod(0o755)  # the service's user is another one than the one who runs the tests

    @property
    def variants(self) -> list[str]:
        return list(self._variants)

    def content(self, variant: str) -> bytes:
        return self._variants[variant]

    def add(self, variant: str, experiments: bytes) -> None:
        """Add a variant, and compute its features without the product."""
        self._variants[variant] = experiments
        users, compounds = ((self.directory / name).read_bytes() for name in ("users.csv", "compounds.csv"))
        self.checksums[hashlib.sha256(experiments).hexdigest()] = _expected(users, compounds, experiments)

    def add_dataset(self, name: str, make: Callable[[Path], None]) -> None:
        """Add another dataset beside the one with variants; nobody watches what is published of it."""
        directory = self.directory / name
        directory.mkdir()
        make(directory)
        for path in [directory, *directory.iterdir()]:
            path.chmod(0o755)

    def use(self, variant: str) -> None:
        """Replace the file at once, as an export should."""
        new = self.directory / ".new"
        new.write_bytes(self._variants[variant])
        new.chmod(0o644)
        new.replace(self.directory / EXPERIMENTS)


def copy_sample(directory: Path) -> None:
    for path in SAMPLE.iterdir():
        shutil.copy(path, directory)


def large(directory: Path) -> None:
    """More than a few hundred megabytes of memory hold at once."""
    generate(directory, experiments=2_000_000, users=20_000, compounds=500, shuffled=True, seed=1)


def sample(directory: Path) -> Inputs:
    """The sample data as `old`, and with another run time as `new`."""
    for name in ("users.csv", "compounds.csv"):
        shutil.copy(SAMPLE / name, directory)
    old = (SAMPLE / EXPERIMENTS).read_bytes()
    inputs = Inputs(directory)
    inputs.add("old", old)
    inputs.add("new", old.rstrip(b"\n") + b"\n9001,1,1;2,123.5\n")
    inputs.use("old")
    return inputs


def slow_to_read(directory: Path, *, lines: int = 20_000, padding: int = 5_000) -> Inputs:
    """Files whose reading lasts a second, for what they hold beside the columns of the contract."""
    users = [f"{user},User {user},user{user}@example.com,2024-01-01" for user in range(1, 501)]
    (directory / "users.csv").write_text("\n".join(["user_id,name,email,signup_date", *users, ""]))
    (directory / "compounds.csv").write_text("compound_id,compound_name,compound_structure\n1,Water,O\n2,Salt,\n")
    header = "experiment_id,user_id,experiment_compound_ids,experiment_run_time,notes"

    def written(numbers: Iterable[int], run_time: float) -> bytes:
        return "".join(f"{number},{number % 500 + 1},1;2,{run_time},{'-' * padding}\n" for number in numbers).encode()

    inputs = Inputs(directory)
    old = f"{header}\n".encode() + written(range(1, lines + 1), 1.5)
    inputs.add("old", old)
    inputs.add("appended", old + written(range(lines + 1, lines + 100), 1.5))
    inputs.add("replaced", f"{header}\n".encode() + written(range(1, lines + 1), 2.5))
    inputs.add("truncated", old[: len(old) * 2 // 3])
    inputs.use("old")
    return inputs


def slow_to_load(directory: Path, *, users: int = 1000, experiments: int = 2000, unknown: int = 150) -> Inputs:
    """Variants of which a COPY lasts seconds: few users, and a rejection for each of many unknown compounds.

    Rejections are copied in the publication's transaction, so that is the stage in which it is seen.
    """
    names = [f"{user},User {user},user{user}@example.com,2024-01-01" for user in range(1, users + 1)]
    (directory / "users.csv").write_text("\n".join(["user_id,name,email,signup_date", *names, ""]))
    (directory / "compounds.csv").write_text("compound_id,compound_name,compound_structure\n1,Water,O\n2,Salt,\n")
    inputs = Inputs(directory)
    items = ";".join(str(compound) for compound in range(1, unknown + 3))
    for variant, run_time in (("old", "1.5"), ("new", "2.5")):
        lines = (f"{number},{number % users + 1},{items},{run_time}" for number in range(1, experiments + 1))
        header = "experiment_id,user_id,experiment_compound_ids,experiment_run_time"
        inputs.add(variant, "\n".join([header, *lines, ""]).encode())
    inputs.use("old")
    return inputs


@cache
def _expected(users: bytes, compounds: bytes, experiments: bytes) -> str:
    """Many cases have the same inputs, and computing them takes seconds."""
    with TemporaryDirectory() as folder:
        for name, content in (("users.csv", users), ("compounds.csv", compounds), (EXPERIMENTS, experiments)):
            (Path(folder) / name).write_bytes(content)
        return _checksum(recompute(Path(folder)).features)


def _checksum(features: Iterable[dict[str, Any]]) -> str:
    return hashlib.md5("\n".join(map(_line, features)).encode(), usedforsecurity=False).hexdigest()


def _line(row: dict[str, Any]) -> str:
    written = row | {
        "average_run_time": _rounded(row["average_run_time"], 6),
        "experiment_share": _rounded(row["experiment_share"], 9),
        "most_common_compound_ids": ",".join(map(str, row["most_common_compound_ids"] or "-")),
    }
    return "|".join("-" if value is None else str(value) for value in written.values())


def _rounded(value: float | None, places: int) -> str | None:
    """As Postgres does: 15 digits of the float, then rounded half up."""
    if value is None:
        return None
    return f"{Decimal(f'{value:.15g}').quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):f}"
