"""What the cases feed the service: variants of a dataset, and the checksum of the features that each must come to."""

import hashlib
import shutil
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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

    def add(self, variant: str, experiments: bytes) -> None:
        """Add a variant, and compute its features without the product."""
        self._variants[variant] = experiments
        with TemporaryDirectory() as folder:
            for name in ("users.csv", "compounds.csv"):
                shutil.copy(self.directory / name, folder)
            (Path(folder) / EXPERIMENTS).write_bytes(experiments)
            self.checksums[hashlib.sha256(experiments).hexdigest()] = _checksum(recompute(Path(folder)).features)

    def use(self, variant: str) -> None:
        """Replace the file at once, as an export should."""
        new = self.directory / ".new"
        new.write_bytes(self._variants[variant])
        new.chmod(0o644)
        new.replace(self.directory / EXPERIMENTS)


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


def slow_to_load(directory: Path, *, users: int = 1000, experiments: int = 2000, unknown: int = 150) -> Inputs:
    """Variants of which a COPY lasts seconds: few users, and a rejection for each of many unknown compounds."""
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


def _checksum(features: Iterable[dict[str, Any]]) -> str:
    return hashlib.md5("\n".join(map(_line, features)).encode(), usedforsecurity=False).hexdigest()


def _line(row: dict[str, Any]) -> str:
    written = row | {
        "average_run_time": _rounded(row["average_run_time"], 6),
        "experiment_share": _rounded(row["experiment_share"], 9),
        "most_common_compound_ids": ",".join(map(str, row["most_common_compound_ids"] or "-")),
    }
    return "|".join("-" if value is None else str(value) for value in written.values())


def _rounded(value: float | None, places: int) -> Decimal | None:
    """As Postgres does: 15 digits of the float, then rounded half up."""
    return None if value is None else Decimal(f"{value:.15g}").quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
