"""What a server that was killed leaves in its data directory, and what the next start makes of it."""

from pathlib import Path

import pytest

from tests.bench.generate import generate
from tests.conftest import ROOT
from tests.container.service import Container, Containers, docker
from tests.servers import wait_until

pytestmark = pytest.mark.container

ORPHANS = (ROOT / "scripts" / "service" / "orphans.sql").read_text()
CLUSTER = "/var/lib/experiment-etl/postgres/17"


@pytest.fixture
def many_users(tmp_path: Path) -> Path:
    """Enough rows for loading them to last a second."""
    directory = tmp_path / "many"
    generate(directory, experiments=10_000, users=400_000, compounds=50, shuffled=False, seed=1)
    for path in [directory, *directory.parents[:2], *directory.iterdir()]:
        path.chmod(0o755)
    return directory


def files(container: Container, directory: str) -> set[str]:
    return set(container.execute(f"ls {directory}").split())


def test_a_server_killed_in_the_middle_of_a_load_leaves_no_file_behind(
    containers: Containers, many_users: Path
) -> None:
    container = containers.start_ready("--volume", f"{many_users}:/data:ro")
    _, job = container.request("POST", "/api/v1/jobs")
    progress = "SELECT 1 FROM pg_stat_progress_copy WHERE tuples_processed > 10000"
    wait_until(lambda: container.psql(progress, "-U", "postgres"), "rows are being loaded", seconds=60)

    docker("kill", container.name)
    docker("start", container.name)
    wait_until(container.is_ready, "ready again")

    assert "removed base/" in container.logs()
    assert container.psql(ORPHANS, "-U", "postgres") == ""
    finished = container.finished(job["id"])
    assert (finished["state"], finished["attempt"]) == ("succeeded", 2)
    assert container.psql("SELECT count(*) FROM user_features") == "400000"
    container.psql("CREATE EXTENSION amcheck", "-U", "postgres")
    docker("exec", container.name, "pg_amcheck", "--username", "postgres", "--database", "experiment_etl")


def test_only_files_that_could_be_a_tables_and_are_not_are_removed(containers: Containers) -> None:
    container = containers.start_ready()
    container.run_job()
    database = container.psql("SELECT oid FROM pg_database WHERE datname = current_database()")
    directory, beside = f"{CLUSTER}/base/{database}", f"{CLUSTER}/base/1"
    orphans = {"3999999999", "3999999999.1", "3999999999_fsm", "3999999999_vm.1", "3999999999_init"}
    others = {"3999999999.bak", "3999999999_old", "9999", "pg_internal.init.3999999999", "notes"}
    container.execute(f"cd {directory} && touch {' '.join(orphans | others)}; touch {beside}/3999999999")
    docker("stop", container.name)
    docker("start", container.name)
    wait_until(container.is_ready, "ready again")

    found = files(container, directory)

    assert not found & orphans
    assert found >= others | {"PG_VERSION", "pg_filenode.map"}
    assert "3999999999" in files(container, beside)
    assert container.psql("SELECT count(*) FROM user_features") == "14"
    removed = [line for line in container.logs().splitlines() if "removed base/" in line]
    assert len(removed) == len(orphans)


def test_a_start_after_an_orderly_stop_removes_nothing(containers: Containers) -> None:
    container = containers.start_ready()
    container.run_job()
    # Catalogues and a table, with their indexes, are given new files.
    for statement in ("FULL pg_class", "FULL pg_largeobject", "FULL jobs", "ANALYZE"):
        container.psql(f"VACUUM {statement}", "-U", "postgres")
    docker("stop", container.name)
    docker("start", container.name)
    wait_until(container.is_ready, "ready again")

    assert "removed base/" not in container.logs()
    assert container.run_job(force=True)["outcome"] == "published"
