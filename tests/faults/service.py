"""The service under test, in one container or in one for each role, and the jobs that it has promised to run."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any

from tests.container.service import Container, docker
from tests.faults.inputs import Inputs
from tests.faults.session import Session
from tests.servers import wait_until

STATE = "/var/lib/experiment-etl"
READER_PASSWORD = "reader"
FINAL_STATES = ("succeeded", "failed", "cancelled")

# How `pgrep --full` finds a program's processes, and nothing else.
PROCESSES = {
    "worker": "celery --quiet",
    "api": "gunicorn --config",
    "redis": "^redis-server",
    "postgres": "^postgres -D",
    "sweeper": "worker.sweeper$",
}


_TABLES = r"""
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
        AND relname NOT LIKE 'user\_feature\_versions\_%'
"""


class Service:
    """`parts` names the container of each role."""

    def __init__(self, parts: Mapping[str, Container], inputs: Inputs, reader_port: int) -> None:
        self.parts = dict(parts)
        self.inputs = inputs
        self.reader_port = reader_port
        self.accepted: list[str] = []
        self.refusals: list[str] = []
        self.tables: set[str] = set()
        self._session = Session(self.parts["postgres"].name)

    def close(self) -> None:
        self._session.close()

    # --- jobs

    def post(self, **body: Any) -> str | None:
        """Ask for a job; return its id where it was accepted, and None where the answer was no, or none at all."""
        try:
            status, answer = self.parts["api"].request("POST", "/api/v1/jobs", {"force": True} | body)
        except (OSError, HTTPException, ValueError) as error:
            self.refusals.append(repr(error))
            return None
        if status != 202:
            self.refusals.append(str(answer))
            return None
        self.accepted.append(answer["id"])
        return str(answer["id"])

    def post_until_accepted(self, *, seconds: float = 90, **body: Any) -> str:
        end = time.monotonic() + seconds
        while not (job_id := self.post(**body)):
            assert time.monotonic() < end, f"in vain: no job was accepted for {seconds} s"
            time.sleep(0.1)
        return job_id

    def job(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = self.parts["api"].get(f"/api/v1/jobs/{job_id}")
        return job

    def finished(self, job_id: str, *, seconds: float = 120) -> dict[str, Any]:
        def is_final() -> bool:
            status, job = self.parts["api"].request("GET", f"/api/v1/jobs/{job_id}?wait=5")
            return status == 200 and job["state"] in FINAL_STATES  # 503 while Postgres is down

        wait_until(is_final, f"{job_id} is final", seconds=seconds)
        return self.job(job_id)

    def wait_for_stage(self, job_id: str, stage: str, *, seconds: float = 60) -> None:
        def has_come() -> bool:
            job = self.job(job_id)
            assert job["state"] not in FINAL_STATES, f"the stage {stage} was too short to be seen: {job}"
            return bool(job["stage"] == stage)

        wait_until(has_come, f"the stage {stage}", seconds=seconds)

    @contextmanager
    def flow(self, *, per_second: float = 2) -> Iterator[None]:
        """Let jobs arrive all the time, from one variant of the inputs and from the next."""
        ended = threading.Event()

        def post_all() -> None:
            for number in range(100_000):
                if ended.wait(1 / per_second):
                    return
                if number % 4 == 0:
                    self.inputs.use(self.inputs.variants[number // 4 % len(self.inputs.variants)])
                self.post()

        thread = threading.Thread(target=post_all, name="flow")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    # --- what is in it

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Ask Postgres from inside, as the superuser. Raises Unavailable."""
        statement = f"SELECT coalesce(json_agg(q), '[]') FROM ({query}) AS q"  # noqa: S608 - the tests' own queries
        answer: list[dict[str, Any]] = json.loads(self.psql(statement))
        return answer

    def table_names(self) -> set[str]:
        """All tables and views but the tables of versions."""
        return {row["relname"] for row in self.rows(_TABLES)}

    def psql(self, *statements: str) -> str:
        """Ask Postgres from inside, as the superuser. Raises Unavailable."""
        return self._session.ask(*statements)

    # --- what is done to it

    def signal(self, signal: str, role: str, *, part: str = "") -> None:
        """Send a signal to all processes of a role at once; of Postgres to the first, which the others depend on."""
        docker("exec", self.parts[part or role].name, "pkill", f"-{signal}", "--full", PROCESSES[role])

    def terminate_backends(self) -> None:
        """End every session of the service, and none of a reader."""
        self.psql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'etl'")

    def backend_of(self, job_id: str) -> str:
        """The Postgres process that a job's transaction runs in."""
        signature = f"application_name LIKE 'job {job_id} %'"
        [row] = self.rows(f"SELECT pid FROM pg_stat_activity WHERE {signature}")  # noqa: S608
        return str(row["pid"])

    def worker_of(self, job_id: str) -> str:
        """The part that runs a job."""
        [row] = self.rows(f"SELECT worker FROM jobs WHERE id = '{job_id}'")  # noqa: S608
        host = row["worker"].partition(":")[0]
        [part] = [name for name, container in self.parts.items() if container.inspect("{{.Config.Hostname}}") == host]
        return part

    def kill(self, role: str, process: str) -> None:
        docker("exec", self.parts[role].name, "kill", "-KILL", process)

    def redis_cli(self, *arguments: str) -> str:
        socket = "/tmp/experiment-etl/redis.sock"
        return docker("exec", self.parts["redis"].name, "redis-cli", "-s", socket, *arguments).stdout

    def worker_child(self) -> str:
        """The process that runs jobs: a celery whose parent is celery."""
        parent = self.parts["worker"].execute(f"pgrep --oldest --full '{PROCESSES['worker']}'").strip()
        return self.parts["worker"].execute(f"pgrep --parent {parent} --full '{PROCESSES['worker']}'").strip()

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            try:
                return self.parts["api"].request("GET", "/readyz")[0] == 200
            except (OSError, HTTPException, ValueError):
                return False

        wait_until(is_ready, "the service is ready", seconds=180)


def log_lines(service: Service, part: str) -> list[dict[str, Any]]:
    """What a part has logged about jobs."""
    lines = service.parts[part].logs().splitlines()
    return [json.loads(line) for line in lines if '"job_id":' in line]
