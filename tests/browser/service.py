"""The service as a whole, natively: Postgres, Redis, API, worker and sweeper, for a browser to look at."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen
from uuid import UUID

import sqlalchemy as sa

from tests import servers
from tests.api.conftest import FORM_TYPE, form
from tests.conftest import SAMPLE, Programs
from tests.servers import wait_until
from worker import database, migrations
from worker.settings import Settings

Files = dict[str, bytes]

# Lines that are wrong in different ways; the third has one item that does not count, and stays.
_WRONG = {
    "users.csv": b"x,Xaver,x@example.com,2024-01-01\n",
    "user_experiments.csv": b"101,99,1;2,5.5\n103,3,5,-1\n102,3,1;x,5\n",
}


@dataclass(frozen=True)
class Service:
    url: str
    programs: Programs
    engine: sa.Engine

    @property
    def data_dir(self) -> Path:
        return self.programs.settings.data_dir

    def upload(self, dataset: str, files: Files) -> None:
        self._ask("PUT", f"/api/v1/datasets/{dataset}", form(*files.items()), FORM_TYPE)

    def run(self, dataset: str, **wanted: Any) -> dict[str, Any]:
        """Run a job on the dataset, and return it as it is when it has ended."""
        job = self.ask("POST", "/api/v1/jobs", {"dataset": dataset, **wanted})
        while job["state"] in ("queued", "running"):
            job = self.ask("GET", f"{job['links']['self']}?wait=30")
        return job

    def publish(self, dataset: str, files: Files | None = None) -> dict[str, Any]:
        """Upload the files, the sample where none are given, and run a job that must publish them."""
        self.upload(dataset, files or sample())
        job = self.run(dataset)
        assert job["outcome"] == "published", job
        return job

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._ask(method, path, json.dumps(body or {}).encode() if method != "GET" else None)

    def _ask(self, method: str, path: str, body: bytes | None, media_type: str = "application/json") -> dict[str, Any]:
        asked = Request(self.url + path, body, {"Content-Type": media_type} if body else {}, method=method)
        with urlopen(asked, timeout=60) as answer:
            answered: dict[str, Any] = json.load(answer)
        return answered

    def indices(self, job_id: str) -> int:
        """How many indices there are of the job's version."""
        query = sa.text("SELECT count(*) FROM pg_index WHERE indisvalid AND indrelid = to_regclass(:partition)")
        with self.engine.connect() as connection:
            return connection.scalar(query, {"partition": f"user_feature_versions_{UUID(job_id).hex}"}) or 0

    @contextmanager
    def rejections_broken(self) -> Iterator[None]:
        """Who reads rejections in here meets an error that nobody has thought of."""
        with self.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE rejections RENAME TO kept"))
            connection.execute(sa.text("CREATE VIEW rejections AS SELECT * FROM kept WHERE 1 / 0 = 1"))
        try:
            yield
        finally:
            with self.engine.begin() as connection:
                connection.execute(sa.text("DROP VIEW rejections"))
                connection.execute(sa.text("ALTER TABLE kept RENAME TO rejections"))

    @contextmanager
    def publication_held_up(self) -> Iterator[None]:
        """Nobody can publish in here, so a job stays in its last stage; reading goes on."""
        with self.engine.begin() as connection:
            connection.execute(sa.text("LOCK TABLE dataset_versions IN SHARE MODE"))
            yield


def sample(**changes: bytes) -> Files:
    """The three files of data/, with some of them, named without `.csv`, changed."""
    files = {path.name: path.read_bytes() for path in SAMPLE.glob("*.csv")}
    return files | {f"{name}.csv": content for name, content in changes.items()}


def faulty() -> Files:
    """The sample with wrong lines at the end."""
    return {name: content.rstrip() + b"\n" + _WRONG.get(name, b"") for name, content in sample().items()}


@contextmanager
def running(directory: Path) -> Iterator[Service]:
    """Start everything in `directory`, whose path must be short enough for a socket; yield when a worker is there."""
    directory.chmod(0o755)  # for Postgres, which does not run as root
    data_dir = directory / "data"
    data_dir.mkdir()
    for name, content in sample().items():
        (data_dir / name).write_bytes(content)
    with ExitStack() as stack:
        url = stack.enter_context(servers.postgres(directory, fsync="off", full_page_writes="off"))
        settings = Settings.from_env(
            {
                "DATA_DIR": str(data_dir),
                "STATE_DIR": str(directory / "state"),
                "DATABASE_URL": url,
                "REDIS_URL": stack.enter_context(servers.redis(directory)),
                "ETL_MEMORY_LIMIT": "2GiB",
            }
        )
        engine = database.engine(settings)
        stack.callback(engine.dispose)
        migrations.upgrade(engine)
        programs = Programs(settings)
        api = stack.enter_context(programs.api())
        stack.enter_context(programs.worker())
        stack.enter_context(programs.sweeper())
        service = Service(api.url, programs, engine)
        wait_until(lambda: _is_ready(service), "a worker is ready")
        yield service


def _is_ready(service: Service) -> bool:
    try:
        return bool(service.ask("GET", "/readyz"))
    except OSError:
        return False
