"""What README and docs/ tell a person to type, typed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import documents
from tests.conftest import ROOT
from tests.container.service import docker
from tests.container.test_scripts import NAME, PORT, run

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]

# A service that somebody runs on this machine, and its data, stay untouched.
NAMES = {
    r"127\.0\.0\.1:8000": f"127.0.0.1:{PORT}",
    r"\bexec experiment-etl\b": f"exec {NAME}",
    r"\blogs experiment-etl\b": f"logs {NAME}",
    r"scripts/(run|demo)\.sh": rf"scripts/\1.sh --port {PORT}",
    r"--postgres-port \d+": f"--postgres-port {PORT + 1 if PORT < 65535 else PORT - 1}",
}
VARIABLES = {"BASE_URL": f"http://127.0.0.1:{PORT}", "EXPERIMENT_ETL_NAME": NAME}


@pytest.fixture
def place(image: str, tmp_path: Path) -> Iterator[Path]:  # noqa: ARG001 - of the same layers as theirs
    tmp_path.chmod(0o755)
    copy = documents.checkout(tmp_path)
    copy.chmod(0o755)
    yield copy
    run("stop.sh", "--purge", cwd=tmp_path, check=False)
    docker("rmi", "--force", NAME, check=False)


@pytest.mark.parametrize("document", ["README.md", "docs/operating.md"])
def test_a_service_is_started_and_kept_as_is_described(document: str, place: Path) -> None:
    documents.follow(ROOT / document, place, NAMES, **VARIABLES)


@pytest.mark.parametrize("document", ["docs/api.md", "docs/features.md", "docs/input.md"])
def test_a_running_service_answers_as_is_described(document: str, place: Path) -> None:
    run("run.sh", "--port", str(PORT), cwd=place)

    documents.follow(ROOT / document, place, NAMES, **VARIABLES)


def test_every_document_with_something_to_type_is_tried() -> None:
    tried = {
        "README.md",
        "CONTRIBUTING.md",
        *(f"docs/{name}.md" for name in ("add-a-feature", "api", "features", "input", "operating")),
    }
    typed = {
        document.relative_to(ROOT).as_posix()
        for document in documents.DOCUMENTS
        if any(documents.commands(block) for block in documents.blocks(document))
    }

    assert typed == tried
