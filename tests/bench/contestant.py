"""One run of the service's pipeline or of a script that does the same, in this process: CONTESTANT DIRECTORY URL.

Imports and warming up do not count. Prints a line of JSON: seconds, the most memory of the process and the most bytes
in temporary files, and for the service its own `timings_ms` and for how long its progress did not move.
"""

import importlib
import json
import os
import runpy
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2

from tests.etl.peak import peak_bytes

SERVICE = "service"
# What each imports, so that it is there before the clock starts.
SCRIPTS = {
    "pandas": ("pandas", "psycopg2.extras"),
    "polars": ("polars", "psycopg2"),
    "duckdb": ("duckdb", "psycopg2"),
    "postgres": ("psycopg2",),
}
_LOOK_S = 0.05

# What a script finds empty.
_TABLE = """
    DROP TABLE IF EXISTS {table};
    CREATE TABLE {table} (
        user_id bigint, name text, email text, signup_date date, total_experiments bigint,
        average_run_time double precision, most_common_compound_id bigint, most_common_compound_name text,
        most_common_compound_uses bigint, most_common_compound_ids bigint[], experiment_share double precision
    )
"""


def main(contestant: str, directory: str, url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        run = _service if contestant == SERVICE else _script
        print(json.dumps(run(contestant, directory, url, Path(folder))))


def table_of(script: str) -> str:
    """The table that a script leaves its result in."""
    return f"bench_{script}"


def _script(name: str, directory: str, url: str, folder: Path) -> dict[str, Any]:
    for module in SCRIPTS[name]:
        importlib.import_module(module)
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute(_TABLE.format(table=table_of(name)))
    connection.close()
    sys.argv = [name, directory, url, table_of(name)]
    with _measured(folder) as measured:
        runpy.run_module(f"tests.bench.scripts.with_{name}")
    return measured


def _service(_: str, directory: str, url: str, folder: Path) -> dict[str, Any]:
    """What a worker does with a job; nothing is skipped but the way over Redis."""
    from worker import database, jobs, migrations, queue
    from worker.settings import Settings
    from worker.tasks import Runner

    settings = Settings.from_env(os.environ | {"DATABASE_URL": url, "DATA_DIR": directory, "STATE_DIR": str(folder)})
    engine = database.engine(settings)
    migrations.upgrade(engine)
    runner = Runner(settings, engine, queue.celery_app(settings), worker="bench")
    runner.warm_up()
    request = jobs.Request("default", "publish", settings.etl_engine, force=True, max_rejected_ratio=0.1)
    with engine.begin() as connection:
        job, _is_new = jobs.submit(connection, request, max_queued_jobs=1000)
    silence: list[float] = []
    watcher = threading.Thread(target=_watch, args=(url, str(job.id), silence), daemon=True)
    watcher.start()
    with _measured(folder) as measured:
        runner.run_job(str(job.id))
    watcher.join()
    with engine.connect() as connection:
        job = jobs.get(connection, job.id)
    if job.outcome != "published":
        raise SystemExit(f"the job ended {job.state}: {job.outcome_detail or job.error_detail}")
    return measured | {"timings_ms": job.timings_ms, "silent_s": round(max(silence, default=0), 2)}


def _watch(url: str, job_id: str, silence: list[float]) -> None:
    """Note for how long stage and progress of the job stay what they are, until it has ended."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    since, state = time.monotonic(), "running"
    told: list[Any] = []
    with connection.cursor() as cursor:
        while state in ("queued", "running"):
            time.sleep(_LOOK_S)
            cursor.execute("SELECT state, stage, progress_done FROM jobs WHERE id = %(id)s", {"id": job_id})
            [(state, *now)] = cursor.fetchall()
            if now != told:
                silence.append(time.monotonic() - since)
                since, told = time.monotonic(), now
    connection.close()


@contextmanager
def _measured(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what is filled in when the block ends."""
    measured: dict[str, Any] = {}
    ended = threading.Event()
    most_temporary = 0

    def look() -> None:
        nonlocal most_temporary
        while not ended.wait(_LOOK_S):
            with suppress(FileNotFoundError):  # a directory that goes in this moment
                most_temporary = max(most_temporary, _bytes_in(folder))

    watcher = threading.Thread(target=look)
    watcher.start()
    started = time.monotonic()
    try:
        yield measured
    finally:
        seconds = time.monotonic() - started
        ended.set()
        watcher.join()
    measured |= {
        "seconds": round(seconds, 3),
        "peak_mib": peak_bytes() >> 20,
        "temporary_mib": most_temporary >> 20,
    }


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # gone in this moment
            total += path.stat().st_size
    return total


if __name__ == "__main__":
    main(*sys.argv[1:])
