"""The real image, built once."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.generate import generate
from tests.conftest import ROOT, missing
from tests.container.service import Containers, docker

IMAGE = "experiment-etl-test"


@pytest.fixture(scope="session")
def docker_engine() -> None:
    """Where no engine answers, the tests are skipped; in CI that is a failure."""
    try:
        answer = subprocess.run(["docker", "version"], capture_output=True, text=True, check=False, timeout=30)
        problem = answer.stderr if answer.returncode else ""
    except FileNotFoundError:
        problem = "there is no docker command"
    if problem:
        missing(f"no Docker engine: {problem}")


@pytest.fixture(scope="session")
def image(docker_engine: None) -> str:  # noqa: ARG001 - it must be there first
    docker("build", "--quiet", "--tag", IMAGE, ROOT)
    return IMAGE


@pytest.fixture
def containers(image: str) -> Iterator[Containers]:
    containers = Containers(image)
    yield containers
    containers.remove_all()


@pytest.fixture(scope="session")
def large_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough experiments for a job to last several seconds, however fast the machine."""
    directory = tmp_path_factory.mktemp("large")
    generate(directory, experiments=6_000_000, users=20_000, compounds=500, shuffled=False, seed=1)
    for path in [directory, *directory.parents[:2], *directory.iterdir()]:
        path.chmod(0o755)  # the service's user is another one than the one who runs the tests
    return directory
