"""A Spark cluster of this machine's processes beside the embedded engine: `python -m tests.bench.spark --workers 2`.

Files to published version, as tests/bench/contestant.py runs them. A first job on a small dataset warms the cluster up;
one that runs already can be named instead. Both engines must agree on every row. Prints a line of JSON for each run.
"""

import argparse
import json
import os
import subprocess
import sys
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg2

from tests import servers
from tests.bench.contestant import SERVICE
from tests.bench.generate import generate
from tests.spark import Cluster

ROOT = Path(__file__).parents[2]
COMPOUNDS, PER_USER = 5_000, 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--workers", type=int, default=2, help="of one core each")
    parser.add_argument("--remote", help="a cluster that runs already, as SPARK_REMOTE")
    parser.add_argument("--runs", type=int, default=1)
    given = parser.parse_args()
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        url = stack.enter_context(servers.postgres(folder, max_wal_size="4GB", shared_buffers="256MB"))
        remote = given.remote or stack.enter_context(_cluster(folder, given.workers)).remote
        for experiments in given.experiments if given.remote else [10_000, *given.experiments]:
            _compare(folder, url, remote, experiments, given.runs)


def _cluster(folder: Path, workers: int) -> AbstractContextManager[Cluster]:
    made = subprocess.run([ROOT / "scripts/venv.sh", "spark-cluster"], stdout=subprocess.PIPE, text=True, check=True)
    return Cluster(Path(made.stdout.strip()), folder, cores=1).run(
        {"spark.sql.shuffle.partitions": "4"}, workers=workers
    )


def _compare(folder: Path, url: str, remote: str, experiments: int, runs: int) -> None:
    directory = folder / "data"
    users = max(10, experiments // PER_USER)
    generate(directory, experiments=experiments, users=users, compounds=COMPOUNDS, shuffled=False, seed=1)
    for _ in range(runs):
        checksums = set()
        for engine in ("duckdb", "spark"):
            run = _run(engine, directory, url, remote)
            checksums.add(_checksum(url))
            print(json.dumps({"experiments": experiments, "engine": engine} | run), flush=True)
        if len(checksums) > 1:
            raise SystemExit("the two engines do not agree")


def _run(engine: str, directory: Path, url: str, remote: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.contestant", SERVICE, str(directory), url]
    environment = os.environ | {"ETL_ENGINE": engine, "SPARK_REMOTE": remote}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, cwd=ROOT, env=environment)
    run: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return run


def _checksum(url: str) -> str:
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT md5(string_agg(md5((to_jsonb(u) - 'job_id' - 'computed_at')::text), '' ORDER BY user_id))"
            " FROM user_features AS u"
        )
        [[checksum]] = cursor.fetchall()
    connection.close()
    return str(checksum)


if __name__ == "__main__":
    main()
