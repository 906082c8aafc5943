"""The real image, and containers of it under names and ports of the tests' own."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

from tests.bench.generate import generate
from tests.conftest import ROOT
from tests.servers import StrPath, wait_until

IMAGE = "experiment-etl-test"


def docker(*arguments: StrPath, check: bool = True) -> subprocess.CompletedProcess[str]:
    finished = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert not check or finished.returncode == 0, f"docker {arguments}: {finished.stderr}"
    return finished


@pytest.fixture(scope="session")
def docker_engine() -> None:
    """Where no engine answers, the tests are skipped; in CI that is a failure."""
    try:
        answer = subprocess.run(["docker", "version"], capture_output=True, text=True, check=False, timeout=30)
        problem = answer.stderr if answer.returncode else ""
    except FileNotFoundError:
        problem = "there is no docker command"
    if problem and os.environ.get("CI"):
        pytest.fail(f"container tests are required in CI: {problem}")
    if problem:
        pytest.skip(f"no Docker engine: {problem}")


@pytest.fixture(scope="session")
def image(docker_engine: None) -> str:  # noqa: ARG001 - it must be there first
    docker("build", "--quiet", "--tag", IMAGE, ROOT)
    return IMAGE


class Container:
    """One running container of the service."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def url(self) -> str:
        return f"http://{docker('port', self.name, '8000/tcp').stdout.splitlines()[0]}"

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            with urlopen(Request(self.url + path, data, headers, method=method), timeout=40) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, json.load(error)

    def get(self, path: str) -> Any:
        status, body = self.request("GET", path)
        assert status == 200, body
        return body

    def run_job(self, **body: Any) -> dict[str, Any]:
        status, job = self.request("POST", "/api/v1/jobs", body)
        assert status == 202, job
        return self.finished(job["id"])

    def finished(self, job_id: str) -> dict[str, Any]:
        for _ in range(10):
            job: dict[str, Any] = self.get(f"/api/v1/jobs/{job_id}?wait=30")
            if job["state"] in ("succeeded", "failed", "cancelled"):
                return job
        raise AssertionError(f"not finished: {job}")

    def is_ready(self) -> bool:
        try:
            return self.request("GET", "/readyz")[0] == 200
        except (URLError, OSError):
            assert self.inspect("{{.State.Running}}") == "true", self.logs()
            return False

    def psql(self, statement: str, *options: str) -> str:
        return docker("exec", self.name, "psql", *options, "-Atc", statement).stdout.strip()

    def execute(self, script: str, *, user: str = "") -> str:
        options = ["--user", user] if user else []
        return docker("exec", *options, self.name, "bash", "-c", script).stdout

    def inspect(self, template: str) -> str:
        return docker("inspect", "--format", template, self.name).stdout.strip()

    def logs(self) -> str:
        finished = docker("logs", self.name)
        return finished.stdout + finished.stderr

    def ended(self) -> int:
        """Wait until the container has ended by itself; return its exit status."""
        return int(docker("wait", self.name).stdout)


class Containers:
    """Starts containers, and removes them and their volumes when the test is over."""

    def __init__(self, image: str) -> None:
        self.image = image
        self._names: list[str] = []
        self._volumes: list[str] = []

    def volume(self) -> str:
        name = f"etl-test-{uuid4().hex[:12]}"
        docker("volume", "create", name)
        self._volumes.append(name)
        return name

    def start(self, *options: StrPath, image: str = "", command: str = "all") -> Container:
        name = f"etl-test-{uuid4().hex[:12]}"
        self._names.append(name)
        arguments = ["--detach", "--name", name, "--publish", "127.0.0.1::8000", *options]
        docker("run", *arguments, image or self.image, command)
        return Container(name)

    def start_ready(self, *options: StrPath, image: str = "") -> Container:
        container = self.start(*options, image=image)
        wait_until(container.is_ready, f"{container.name} is ready")
        return container

    def remove_all(self) -> None:
        for name in self._names:
            docker("rm", "--force", "--volumes", name, check=False)
        for name in self._volumes:
            docker("volume", "rm", "--force", name, check=False)


@pytest.fixture
def containers(image: str) -> Iterator[Containers]:
    containers = Containers(image)
    yield containers
    containers.remove_all()


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    seconds: list[float] = []
    started = time.monotonic()
    yield seconds
    seconds.append(time.monotonic() - started)


@pytest.fixture(scope="session")
def large_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough experiments for a job to last some seconds."""
    directory = tmp_path_factory.mktemp("large")
    generate(directory, experiments=1_500_000, users=20_000, compounds=500, shuffled=False, seed=1)
    for path in [directory, *directory.parents[:2], *directory.iterdir()]:
        path.chmod(0o755)  # the service's user is another one than the one who runs the tests
    return directory
