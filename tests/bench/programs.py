"""What tests/bench/latency.py compares, as processes: the service, and an app that does the least for the same."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection, create_server
from typing import Any

import psycopg2

from tests import servers

ROOT = Path(__file__).parents[2]
# As in scripts/start.sh, for both.
_GUNICORN = (sys.executable, "-m", "gunicorn", "--config", "api/gunicorn_config.py")
_CELERY = ("nice", "-n", "5", sys.executable, "-m", "celery", "--quiet", "--app")
_OF_WORKER = ("worker", "--without-mingle", "--without-gossip", "--heartbeat-interval", "5")

_BARE_SCHEMA = """
    CREATE TABLE jobs (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(), finished_at timestamptz
    );
    CREATE TABLE features (
        job_id bigint, user_id bigint, name text, email text, signup_date date, total_experiments bigint,
        average_run_time double precision, most_common_compound_id bigint, most_common_compound_name text,
        PRIMARY KEY (job_id, user_id)
    )
"""


@dataclass(frozen=True)
class App:
    """How to start an app's programs, and where its jobs are."""

    api: str
    tasks: str
    port: int
    database_url: str
    environment: Mapping[str, str]
    log: Path

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Run the API; it listens when the block begins."""
        with self._running(*_GUNICORN, self.api):
            servers.wait_until(self._listens, f"{self.api} listens")
            yield

    @contextmanager
    def working(self) -> Iterator[None]:
        """Run a worker."""
        with self._running(*_CELERY, self.tasks, *_OF_WORKER):
            yield

    @contextmanager
    def sweeping(self) -> Iterator[None]:
        with self._running(sys.executable, "-m", "worker.sweeper"):
            yield

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        return _query(self.database_url, statement)

    @contextmanager
    def _running(self, *command: str) -> Iterator[None]:
        with (
            self.log.open("ab") as log,
            servers.running(command, cwd=ROOT, env=os.environ | self.environment, stdout=log, stderr=log),
        ):
            yield

    def _listens(self) -> bool:
        try:
            create_connection(("127.0.0.1", self.port)).close()
        except ConnectionRefusedError:
            return False
        return True


@contextmanager
def apps(folder: Path) -> Iterator[tuple[App, App]]:
    """Run one Postgres, with the settings of the service's own, and one Redis; yield the service and the bare app."""
    folder.chmod(0o755)  # for Postgres, which does not run as root
    with ExitStack() as stack:
        configuration = str(ROOT / "scripts/service/postgresql.conf")
        url = stack.enter_context(servers.postgres(folder, config_file=configuration))
        redis_url = stack.enter_context(servers.redis(folder))
        of_service, of_bare = (_database(url, name) for name in ("service", "bare"))
        _query(of_bare, _BARE_SCHEMA)
        service = {
            "DATABASE_URL": of_service,
            "REDIS_URL": redis_url,
            "STATE_DIR": str(folder / "state"),
            "MAX_QUEUED_JOBS": "1000000",
        }
        bare = {"BARE_DATABASE_URL": of_bare, "BARE_BROKER_URL": f"redis+socket://{folder}/redis.sock"}
        yield (
            _app("api.wsgi:app", "worker.main", of_service, service, folder / "service.log"),
            _app("tests.bench.bare.app:app", "tests.bench.bare.tasks", of_bare, bare, folder / "bare.log"),
        )


def _app(api: str, tasks: str, database_url: str, environment: dict[str, str], log: Path) -> App:
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    common = {"API_BIND": f"127.0.0.1:{port}", "DATA_DIR": str(ROOT / "data"), "PYTHONPATH": str(ROOT)}
    return App(api, tasks, port, database_url, common | environment, log)


def _database(url: str, name: str) -> str:
    _query(url, f"CREATE DATABASE {name}")
    return url.replace("/postgres?", f"/{name}?")


def _query(url: str, statement: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
        rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows
