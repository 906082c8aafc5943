"""The service's pipeline beside four plain scripts: files to rows in Postgres, one after the other in turn.

Each run is a process of its own (tests/bench/contestant.py). All must agree on every row. Prints a table, appends a
line of JSON for every run to what --out has, and draws all that is there.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import psycopg2

from tests import servers
from tests.bench.contestant import SCRIPTS, SERVICE, table_of
from tests.bench.generate import Distribution, generate
from tests.bench.plot import draw

ROOT = Path(__file__).parents[2]
COMPOUNDS = 5_000
# Experiments per user, unless the distribution says otherwise.
PER_USER = {"distinct": 50, "repeats": 50, "one user": 50, "many users": 5}
DISTRIBUTIONS = {
    "distinct": Distribution(),
    "repeats": Distribution(favourites=20),
    "one user": Distribution(to_one_user=0.5),
    "many users": Distribution(),
}
# Beyond this a script is not asked to: pandas needs 6 GB for 10 million.
MOST = {"pandas": 10_000_000, "postgres": 10_000_000}

Run = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description=__doc__)
    parser.add_argument("--experiments", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 10_000_000])
    parser.add_argument("--distributions", nargs="+", choices=DISTRIBUTIONS, default=["distinct"])
    parser.add_argument("--contestants", nargs="+", choices=[SERVICE, *SCRIPTS], default=[SERVICE, *SCRIPTS])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/bench", help="where throughput.jsonl and .png go")
    given = parser.parse_args()
    runs: list[Run] = []
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with servers.postgres(Path(folder), max_wal_size="4GB", shared_buffers="256MB") as url:
            for experiments in given.experiments:
                for distribution in given.distributions:
                    runs += _compare(Path(folder), url, experiments, distribution, given.contestants, given.runs)
    given.out.mkdir(parents=True, exist_ok=True)
    lines = given.out / "throughput.jsonl"
    with lines.open("a") as file:
        file.writelines(json.dumps(run) + "\n" for run in runs)
    draw([json.loads(line) for line in lines.read_text().splitlines()], given.out / "throughput.png")
    _print(runs)


def _compare(
    folder: Path, url: str, experiments: int, distribution: str, contestants: Sequence[str], times: int
) -> list[Run]:
    directory = folder / "data"
    generate(
        directory,
        experiments=experiments,
        users=max(10, experiments // PER_USER[distribution]),
        compounds=COMPOUNDS,
        shuffled=False,
        seed=1,
        distribution=DISTRIBUTIONS[distribution],
    )
    contestants = [name for name in contestants if experiments <= MOST.get(name, experiments)]
    runs: list[Run] = [
        {"experiments": experiments, "distribution": distribution, "contestant": name} | _run(name, directory, url)
        for _ in range(times)
        for name in contestants
    ]
    if SERVICE in contestants:
        loads = [run["timings_ms"]["load"] / 1000 for run in runs if run["contestant"] == SERVICE]
        rows, seconds = _bare_copy(url)
        print(f"  {rows} rows loaded in {statistics.median(loads)} s, bare COPY {seconds} s", file=sys.stderr)
    for name in contestants:
        if name != SERVICE and SERVICE in contestants:
            _refuse_differences(url, name)
    return runs


def _run(contestant: str, directory: Path, url: str) -> Run:
    command = [sys.executable, "-m", "tests.bench.contestant", contestant, str(directory), url]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, cwd=ROOT)
    run: Run = json.loads(done.stdout.splitlines()[-1])
    print(f"  {contestant:>10} {run}", file=sys.stderr)
    return run


def _bare_copy(url: str) -> tuple[int, float]:
    """Return how many rows are published, and how long COPY takes for them alone: no join, no index, no commit."""
    connection = psycopg2.connect(url)
    with TemporaryFile() as file, connection.cursor() as cursor:
        cursor.copy_expert("COPY (SELECT * FROM user_features) TO STDOUT (FORMAT csv)", file)
        file.seek(0)
        cursor.execute("CREATE TABLE bare AS SELECT * FROM user_features LIMIT 0")
        started = time.monotonic()
        cursor.copy_expert("COPY bare FROM STDIN (FORMAT csv)", file)
        seconds = time.monotonic() - started
        rows = cursor.rowcount
    connection.close()
    return rows, round(seconds, 2)


_COLUMNS = (
    *("name", "email", "signup_date", "total_experiments", "most_common_compound_id", "most_common_compound_name"),
    *("most_common_compound_uses", "most_common_compound_ids"),
)
# Their last digits depend on the order of the terms, and on whether one divides or multiplies by a reciprocal.
_INEXACT = ("average_run_time", "experiment_share")


def _refuse_differences(url: str, script: str) -> None:
    """Compare row by row."""
    tests = [f"ours.{column} IS DISTINCT FROM theirs.{column}" for column in _COLUMNS]
    for column in _INEXACT:
        tests.append(f"(ours.{column} IS NULL) <> (theirs.{column} IS NULL)")
        tests.append(f"abs(ours.{column} - theirs.{column}) > 1e-9 * abs(ours.{column})")
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM user_features AS ours FULL JOIN {table_of(script)} AS theirs USING (user_id)"
            f" WHERE {' OR '.join(tests)}"
        )
        [[differences]] = cursor.fetchall()
    connection.close()
    if differences:
        raise SystemExit(f"the service and {script} do not agree on {differences} users")


def _print(runs: list[Run]) -> None:
    print(
        "| experiments | distribution | | seconds | lines/s | peak MiB | temporary MiB | ratio to the fastest script |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for experiments, distribution in dict.fromkeys((run["experiments"], run["distribution"]) for run in runs):
        of = {
            name: [
                run
                for run in runs
                if (run["experiments"], run["distribution"], run["contestant"]) == (experiments, distribution, name)
            ]
            for name in (SERVICE, *SCRIPTS)
        }
        medians = {name: statistics.median(run["seconds"] for run in some) for name, some in of.items() if some}
        fastest = min((seconds for name, seconds in medians.items() if name != SERVICE), default=None)
        for name, seconds in medians.items():
            some = of[name]
            spread = f"{seconds:.2f} ({min(r['seconds'] for r in some):.2f}-{max(r['seconds'] for r in some):.2f})"
            ratio = f"{seconds / fastest:.2f}" if fastest else ""
            print(
                f"| {experiments:,} | {distribution} | {name} | {spread} | {experiments / seconds:,.0f}"
                f" | {max(r['peak_mib'] for r in some)} | {max(r['temporary_mib'] for r in some)} | {ratio} |"
            )


if __name__ == "__main__":
    main()
