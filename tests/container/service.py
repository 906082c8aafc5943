"""Containers of the real image, under names and ports of the tests' own."""

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

from tests.conftest import ROOT
from tests.servers import StrPath, wait_until


def docker(*arguments: StrPath, check: bool = True) -> subprocess.CompletedProcess[str]:
    finished = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert not check or finished.returncode == 0, f"docker {arguments}: {finished.stderr}"
    return finished


def script(
    name: str, *arguments: StrPath, cwd: Path, check: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run one of scripts/ as a person does who stands in that folder."""
    finished = subprocess.run(
        [ROOT / "scripts" / name, *arguments],
        cwd=cwd,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or finished.returncode == 0, finished.stdout + finished.stderr
    return finished


class Container:
    """One running container of the service."""

    def __init__(self, name: str, port: int | None = None) -> None:
        self.name = name
        self._port = port

    @property
    def url(self) -> str:
        if self._port:
            return f"http://127.0.0.1:{self._port}"
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
        self._networks: list[str] = []

    def volume(self, *options: str) -> str:
        name = f"etl-test-{uuid4().hex[:12]}"
        docker("volume", "create", *options, name)
        self._volumes.append(name)
        return name

    def network(self) -> str:
        name = f"etl-test-{uuid4().hex[:12]}"
        docker("network", "create", name)
        self._networks.append(name)
        return name

    @property
    def started(self) -> list[Container]:
        return [Container(name) for name in self._names]

    def start(self, *options: StrPath, image: str = "", command: str = "all", port: int | None = None) -> Container:
        """The API gets a port of its own; one that is given stays when the container is started again."""
        name = f"etl-test-{uuid4().hex[:12]}"
        self._names.append(name)
        arguments = ["--detach", "--name", name, "--publish", f"127.0.0.1:{port or ''}:8000", *options]
        docker("run", *arguments, image or self.image, *command.split())
        return Container(name, port)

    def start_ready(self, *options: StrPath, image: str = "") -> Container:
        container = self.start(*options, image=image)
        wait_until(container.is_ready, f"{container.name} is ready")
        return container

    def remove_all(self) -> None:
        for name in self._names:
            docker("rm", "--force", "--volumes", name, check=False)
        for name in self._volumes:
            docker("volume", "rm", "--force", name, check=False)
        for name in self._networks:
            docker("network", "rm", name, check=False)


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    seconds: list[float] = []
    started = time.monotonic()
    yield seconds
    seconds.append(time.monotonic() - started)
