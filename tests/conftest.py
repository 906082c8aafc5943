"""Real servers for the tests: Postgres and Redis in a temporary folder, a database of its own for each test."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn
from uuid import UUID, uuid4

import psycopg2
import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import settings as profile

from api import create_app
from tests import servers
from tests.servers import running, wait_until
from tests.spark import Cluster, cluster
from worker import database, jobs, migrations, queue
from worker.jobs import Job, Request
from worker.settings import Settings
from worker.tasks import Runner

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "data"
TEMPLATE = "template_experiment_etl"

# How long an example may take is for benchmarks to say; else as Hypothesis has it, which differs in CI.
profile.register_profile("no deadline", deadline=None)
profile.load_profile("no deadline")


def missing(what: str) -> NoReturn:
    """Skip a test for which something is not there; in CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"required in CI: {what}")
    pytest.skip(what)


def fast_directory() -> str:
    """Memory, where there is enough of it: the database of a test is some hundred files."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 << 30
    return str(memory) if roomy else "/tmp"


@pytest.fixture(scope="session")
def server_directory() -> Iterator[Path]:
    """A short path: a Unix socket's must fit into 107 bytes."""
    with TemporaryDirectory(prefix="etl-", dir=fast_directory()) as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture(scope="session")
def postgres(server_directory: Path) -> Iterator[str]:
    """The URL of a running server's database `postgres`."""
    with servers.postgres(server_directory, fsync="off", full_page_writes="off") as url:
        yield url


@pytest.fixture(scope="session")
def redis_url(server_directory: Path) -> Iterator[str]:
    with servers.redis(server_directory) as url:
        yield url


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running Spark cluster of two workers."""
    if not shutil.which("java"):
        missing("Java, for a Spark cluster")
    made = subprocess.run([ROOT / "scripts/venv.sh", "spark-cluster"], stdout=subprocess.PIPE, text=True, check=True)
    with cluster(Path(made.stdout.strip()), tmp_path_factory.mktemp("spark")) as running_cluster:
        yield running_cluster


def _administer(url: str, statement: str) -> None:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        connection.cursor().execute(statement)
    finally:
        connection.close()


@pytest.fixture(scope="session")
def template(postgres: str) -> str:
    """A database with the whole schema; each test gets a copy of it."""
    _administer(postgres, f"CREATE DATABASE {TEMPLATE}")
    url = postgres.replace("/postgres?", f"/{TEMPLATE}?")
    engine = database.engine(Settings.from_env({"DATABASE_URL": url}))
    migrations.upgrade(engine)
    engine.dispose()
    return TEMPLATE


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory with the sample as dataset `default`."""
    directory = tmp_path / "data"
    shutil.copytree(SAMPLE, directory)
    return directory


@pytest.fixture
def settings(postgres: str, template: str, redis_url: str, tmp_path: Path, data_dir: Path) -> Iterator[Settings]:
    """Settings for a database and an empty Redis of the test's own."""
    name = f"test_{uuid4().hex}"
    _administer(postgres, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    redis.Redis.from_url(redis_url).flushall()
    yield Settings.from_env(
        {
            "DATA_DIR": str(data_dir),
            "STATE_DIR": str(tmp_path / "state"),
            "DATABASE_URL": postgres.replace("/postgres?", f"/{name}?"),
            "REDIS_URL": redis_url,
            "ETL_MEMORY_LIMIT": "512MiB",
        }
    )
    _administer(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def engine(settings: Settings) -> Iterator[sa.Engine]:
    engine = database.engine(settings)
    yield engine
    engine.dispose()


@pytest.fixture
def client(settings: Settings) -> Iterator[FlaskClient]:
    app = create_app(settings)
    with app.test_client() as client:
        yield client
    end(app)


def await_silence(app: Flask) -> None:
    """Wait until every job that was submitted has been rung."""
    bell = app.extensions["services"].bell
    wait_until(lambda: not bell._rings, "the bell is silent")


def end(app: Flask) -> None:
    await_silence(app)  # or it would ring in the next test
    app.extensions["services"].engine.dispose()
    app.extensions["services"].looks.dispose()


@dataclass(frozen=True)
class InProcess:
    """The ledger and the worker's task, without a worker process."""

    settings: Settings
    engine: sa.Engine
    runner: Runner

    def submit(self, *, max_queued_jobs: int = 1000, idempotency_key: str | None = None, **wanted: Any) -> Job:
        """Insert a queued job and ring for nobody."""
        with self.engine.begin() as connection:
            job, _ = jobs.submit(
                connection, request(**wanted), max_queued_jobs=max_queued_jobs, idempotency_key=idempotency_key
            )
        return job

    def claim(self, job: Job, worker: str = "test") -> Job:
        with self.engine.begin() as connection:
            claimed = jobs.claim(connection, job.id, worker)
        assert claimed, "the job was not there to be claimed"
        return claimed

    def run(self, **wanted: Any) -> Job:
        """Submit a job and run it in this process."""
        return self.run_job(self.submit(**wanted))

    def run_job(self, job: Job) -> Job:
        self.runner.run_job(str(job.id))
        return self.job(job)

    def lose_users(self, *, left: int) -> None:
        """Leave so many users in the file of the dataset `default`."""
        users = self.settings.data_dir / "users.csv"
        lines = [line for line in users.read_text().splitlines() if line.strip()]
        users.write_text("\n".join(lines[: 1 + left]))

    def job(self, job: Job) -> Job:
        """The job as the ledger has it now."""
        with self.engine.connect() as connection:
            return jobs.get(connection, job.id)

    def query(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.text(statement), values).mappings()]

    def execute(self, statement: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement), values)

    def published(self, dataset: str = "default") -> UUID | None:
        """The job whose version is the dataset's published one."""
        rows = self.query("SELECT published_job_id FROM datasets WHERE name = :dataset", dataset=dataset)
        return rows[0]["published_job_id"] if rows else None

    def tables_of_versions(self) -> set[str]:
        """The tables that hold a version's rows, attached or not."""
        rows = self.query("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'user_feature_versions_%'")
        return {row["relname"] for row in rows}


def request(**wanted: Any) -> Request:
    """What a job is asked to do, by default what an empty POST asks for."""
    defaults: dict[str, Any] = {
        "dataset": "default",
        "mode": "publish",
        "engine": "duckdb",
        "force": False,
        "max_rejected_ratio": 0.1,
    }
    return Request(**(defaults | wanted))


@pytest.fixture
def in_process(settings: Settings, engine: sa.Engine) -> InProcess:
    return InProcess(settings, engine, Runner(settings, engine, queue.celery_app(settings), worker="in-process"))


@dataclass(frozen=True)
class Served:
    """The API as a process."""

    port: int
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def listens(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged: one JSON object a line."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@dataclass(frozen=True)
class Programs:
    """Starts the service's own programs as processes."""

    settings: Settings

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "DATA_DIR": str(self.settings.data_dir),
            "STATE_DIR": str(self.settings.state_dir),
            "DATABASE_URL": self.settings.database_url,
            "REDIS_URL": self.settings.redis_url,
            "ETL_MEMORY_LIMIT": str(self.settings.etl_memory_limit),
        }

    @contextmanager
    def api(self, *, port: int = 0, **environment: str) -> Iterator[Served]:
        """The API behind its real server, on a free port unless one is given; it listens when the block begins."""
        with socket.create_server(("127.0.0.1", port)) as free:
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "gunicorn", "--config", "api/gunicorn_config.py", "api.wsgi:app"]
        log, metrics = self.settings.state_dir / "api.log", self.settings.state_dir / "metrics"
        log.parent.mkdir(exist_ok=True)
        metrics.mkdir(exist_ok=True)  # as in scripts/start.sh
        own = {"API_BIND": f"127.0.0.1:{port}", "PROMETHEUS_MULTIPROC_DIR": str(metrics)} | environment
        with (
            log.open("wb") as output,
            running(command, cwd=ROOT, env=self._environment() | own, stdout=output, stderr=output) as process,
        ):
            served = Served(port, log, process)
            wait_until(served.listens, "the API listens")
            yield served

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        # As in scripts/start.sh.
        options = ["--without-mingle", "--without-gossip", "--heartbeat-interval", "5"]
        command = ["-m", "celery", "--quiet", "--app", "worker.main", "worker", *options]
        with running([sys.executable, *command], cwd=ROOT, env=self._environment()) as process:
            yield process

    @contextmanager
    def sweeper(self, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "worker.sweeper"]
        with running(command, cwd=ROOT, env=self._environment() | settings) as process:
            yield process


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def programs(settings: Settings) -> Programs:
    return Programs(settings)
