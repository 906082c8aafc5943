"""What checking costs: `python -m tests.bench.checks`.

The product's pipeline and the same with every check removed (tests/bench/unchecked.py), files to published version, one
after the other in turn, each run in a process of its own that was warmed up on a small dataset; then a file of a
million lines of which 90,000 are wrong. Prints a table, and a line of JSON for every run.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa
import uuid6
from psycopg2.extensions import connection as Connection  # noqa: N812 - psycopg2 writes its class in lower case

from etl import pipeline, publish
from etl.embedded import DuckDB
from etl.files import Dataset
from etl.progress import Progress
from tests import servers
from tests.bench import unchecked
from tests.bench.generate import generate, spoil
from worker import database, migrations
from worker.settings import Settings

ROOT = Path(__file__).parents[2]
MEMORY_BYTES = 2 << 30
VARIANTS = ("checked", "unchecked")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--shuffled", action="store_true", help="experiment ids in no order")
    parser.add_argument("--one", nargs=3, metavar=("VARIANT", "DIRECTORY", "URL"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        variant, directory, url = given.one
        print(json.dumps(_run(variant, Path(directory), url)))
        return
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with servers.postgres(Path(folder)) as url:
            for experiments in given.experiments:
                _compare(Path(folder), url, experiments, given.runs, shuffled=given.shuffled)
            _spoiled(Path(folder), url, given.runs)


def _compare(folder: Path, url: str, experiments: int, runs: int, *, shuffled: bool) -> None:
    directory = folder / str(experiments)
    generate(directory, experiments=experiments, users=200_000, compounds=5_000, shuffled=shuffled, seed=1)
    results: dict[str, list[dict[str, Any]]] = {variant: [] for variant in VARIANTS}
    for _ in range(runs):
        for variant in VARIANTS:
            results[variant].append(_in_a_process(variant, directory, url))
    checksums = {result["checksum"] for of_variant in results.values() for result in of_variant}
    if len(checksums) > 1:
        raise SystemExit("the two pipelines do not agree")
    for variant, of_variant in results.items():
        print(f"{experiments:>12,} {variant:>10} {_told(of_variant)}")
    pairs = zip(*(results[variant] for variant in VARIANTS), strict=True)
    ratios = [checked["seconds"] / plain["seconds"] for checked, plain in pairs]
    print(f"{experiments:>12,} {'ratio':>10} {_spread(ratios)}")


def _spoiled(folder: Path, url: str, runs: int, *, experiments: int = 1_000_000, wrong: int = 90_000) -> None:
    directory = folder / "spoiled"
    generate(directory, experiments=experiments, users=200_000, compounds=5_000, shuffled=False, seed=2)
    planted = spoil(directory, lines=wrong, seed=2)
    results = [_in_a_process("checked", directory, url) for _ in range(runs)]
    for result in results:
        if {int(line): code for line, code in result["rejections"].items()} != planted:
            raise SystemExit("the rejections are not those that were planted")
    print(f"{experiments:>12,} {'spoiled':>10} {_told(results)}; all {wrong:,} wrong lines listed with line and code")


def _told(results: list[dict[str, Any]]) -> str:
    seconds = _spread([result["seconds"] for result in results])
    return f"{seconds} s, peak memory {max(result['peak_mib'] for result in results)} MiB"


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def _in_a_process(variant: str, directory: Path, url: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.checks", "--one", variant, str(directory), url]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    result: dict[str, Any] = json.loads(done.stdout)
    told = {"variant": variant, "dataset": directory.name} | result | {"rejections": len(result["rejections"])}
    print(json.dumps(told))
    return result


# --- in the child process


def _run(variant: str, directory: Path, url: str) -> dict[str, Any]:
    sa_engine = database.engine(Settings.from_env({"DATABASE_URL": url}))
    migrations.upgrade(sa_engine)
    with TemporaryDirectory() as small:
        generate(Path(small), experiments=1000, users=100, compounds=10, shuffled=False, seed=0)
        _publish(variant, Path(small), sa_engine)
    started = time.monotonic()
    timings = _publish(variant, directory, sa_engine)
    seconds = time.monotonic() - started
    with sa_engine.connect() as connection:
        checksum = connection.scalar(sa.text(_CHECKSUM))
        rejections = connection.execute(sa.text(_REJECTIONS))
        return {
            "seconds": round(seconds, 3),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            "timings": timings,
            "checksum": checksum,
            "rejections": {row.line: row.code for row in rejections},
        }


# A mean's last digits depend on the order of its terms.
_CHECKSUM = """
    SELECT md5(string_agg(
        md5((to_jsonb(u) - 'job_id' - 'computed_at' - 'average_run_time')::text || round(average_run_time::numeric, 9)),
        '' ORDER BY user_id
    ))
    FROM user_features AS u
"""
_REJECTIONS = "SELECT line, code FROM rejections JOIN datasets ON job_id = published_job_id"


def _publish(variant: str, directory: Path, sa_engine: sa.Engine) -> dict[str, float]:
    job_id = uuid6.uuid7()
    timings: dict[str, float] = {}

    @contextmanager
    def on_stage(name: str) -> Iterator[Progress]:
        started = time.monotonic()
        yield lambda _done, _total, _unit: None
        timings[name] = round(time.monotonic() - started, 3)

    with sa_engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO datasets (name) VALUES ('default') ON CONFLICT DO NOTHING"))
        connection.execute(
            sa.text(
                "INSERT INTO jobs (id, dataset, mode, engine, force, max_rejected_ratio)"
                " VALUES (:id, 'default', 'publish', 'duckdb', true, 0.1)"
            ),
            {"id": job_id},
        )

    @contextmanager
    def transaction() -> Iterator[Connection]:
        with sa_engine.begin() as connection:
            yield database.driver_connection(connection)

    with _engine() as engine:
        if variant == "unchecked":
            unchecked.run(job_id, directory, engine, transaction)
        else:
            pipeline.run(
                job_id=job_id,
                dataset="default",
                files=Dataset(directory, 1 << 40),
                engine=engine,
                transaction=transaction,
                publication=publish.publish,
                finish=lambda _connection, _result: None,
                max_rejected_ratio=0.1,
                on_stage=on_stage,
            )
    return timings


@contextmanager
def _engine() -> Iterator[DuckDB]:
    with (
        TemporaryDirectory() as spill,
        DuckDB.connect(memory_bytes=MEMORY_BYTES, threads=2, spill_directory=Path(spill)) as engine,
    ):
        yield engine


if __name__ == "__main__":
    main()
