"""The image, and a case for each test: its result is kept, and so are the logs of one that failed."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import pytest

from tests.conftest import ROOT
from tests.container.conftest import docker_engine  # noqa: F401 - a fixture
from tests.container.service import Containers, docker
from tests.faults.case import IS_LONG, Case

SECONDS_MAX = {False: 600, True: 4 * 3600}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("faults"):
            item.add_marker(pytest.mark.timeout(SECONDS_MAX[IS_LONG]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001 - pytest's own names
) -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if report.failed:
        item.stash.setdefault(_failures, []).append(str(getattr(report.longrepr, "reprcrash", report.longrepr)))
    return report  # type: ignore[return-value]


_failures = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def results_directory() -> Path:
    return Path(os.environ.get("FAULTS_RESULTS") or mkdtemp(prefix="experiment-etl-faults-"))


@pytest.fixture(scope="session")
def image(docker_engine: None) -> str:  # noqa: ARG001, F811 - it must be there first
    """The image's id: its name may go to another build meanwhile."""
    return docker("build", "--quiet", "--tag", "experiment-etl-faults", ROOT).stdout.strip()


@pytest.fixture
def case(request: pytest.FixtureRequest, image: str, results_directory: Path) -> Iterator[Case]:
    name = request.node.name.removeprefix("test_").replace("_", " ")
    containers = Containers(image)
    with TemporaryDirectory(prefix="etl-faults-") as directory:
        Path(directory).chmod(0o755)
        case = Case(name, containers, Path(directory))
        try:
            yield case
            case.end()
        finally:
            failures = request.node.stash.get(_failures, [])
            if not case.is_checked:
                case.result.broken += [f"the case did not get to its end: {failure}" for failure in failures]
            if case.result.broken:
                _keep_logs(case, results_directory)
            containers.remove_all()
            if case.result.runs or case.result.broken:
                case.result.append_to(results_directory / "results.jsonl")


def _keep_logs(case: Case, directory: Path) -> None:
    for container in case.containers.started:
        path = directory / f"{case.result.case.replace(' ', '_')}-{container.name}.log"
        path.write_text(container.logs())
        print(f"the log of a failed case: {path}")  # noqa: T201
