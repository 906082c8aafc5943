"""A program that cannot start ends the container with a status other than 0, and the log names it."""

from pathlib import Path

import pytest

from tests.faults.case import Case

pytestmark = pytest.mark.faults

# What stands in its place.
FILES = {
    "worker": "/app/worker/main.py",
    "sweeper": "/app/worker/sweeper.py",
    "redis": "/usr/bin/redis-server",
    "postgres": "/app/scripts/service/postgresql.conf",
}


@pytest.mark.parametrize("program", ["api", *FILES])
def test_a_program_cannot_start(program: str, case: Case, tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nonsense in its place\n")
    for path in (nonsense, *nonsense.parents[:3]):
        path.chmod(0o755)
    broken = ["--env", "API_BIND=192.0.2.1:8000"]
    if program in FILES:
        broken = ["--volume", f"{nonsense}:{FILES[program]}:ro"]

    container = case.containers.start(*broken)
    status = container.ended()

    case.result.runs = 1
    assert status != 0
    assert f"program {program} could not be started" in container.logs()
