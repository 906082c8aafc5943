"""Backups and older volumes: what one service has made, another one goes on with."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, SAMPLE
from tests.container.service import Container, Containers, docker, script
from tests.servers import wait_until

pytestmark = pytest.mark.container

STATE = "/var/lib/experiment-etl"


def back_up(container: Container, file: Path) -> None:
    script("backup.sh", file, cwd=file.parent, CONTAINER=container.name)


def restore(container: Container, file: Path, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return script("restore.sh", *options, file, cwd=file.parent, check=check, CONTAINER=container.name)


def upload(container: Container, dataset: str) -> None:
    fields = [field for path in SAMPLE.glob("*.csv") for field in ("--form", f"file=@{path}")]
    url = f"{container.url}/api/v1/datasets/{dataset}"
    subprocess.run(["curl", "--silent", "--fail", "--request", "PUT", *fields, url], check=True, capture_output=True)


def seen(container: Container, *datasets: str) -> dict[str, Any]:
    paths = ["jobs", "datasets", *(f"{path}dataset={name}" for name in datasets for path in ("features?", "summary?"))]
    return {path: container.get(f"/api/v1/{path}") for path in paths}


def interrupted(container: Container, **body: Any) -> str:
    """Return a job that runs and will never end: its worker is frozen."""
    container.execute("kill -STOP $(pgrep --full '[c]elery')")
    status, job = container.request("POST", "/api/v1/jobs", body)
    assert status == 202
    container.psql(
        "UPDATE jobs SET state = 'running', attempt = 1, worker = 'frozen', started_at = now(),"
        " lease_expires_at = now() + interval '1 s' WHERE state = 'queued'"
    )
    return str(job["id"])


def test_a_backup_brings_a_new_volume_to_where_the_old_one_was(containers: Containers, tmp_path: Path) -> None:
    old, new = containers.start_ready(), containers.start_ready()
    upload(old, "lab")
    first, second = old.run_job(dataset="lab"), old.run_job(dataset="lab", force=True)
    old.run_job()
    before = seen(old, "default", "lab")
    running = interrupted(old, dataset="lab", force=True)

    back_up(old, tmp_path / "saved")
    refused = script("backup.sh", tmp_path / "saved", cwd=tmp_path, check=False, CONTAINER=old.name)
    assert (refused.returncode, "is there already" in refused.stderr) == (1, True)
    assert (tmp_path / "saved").stat().st_mode & 0o777 == 0o600, "it holds names of people"
    restored = restore(new, tmp_path / "saved")

    assert "Restored 4 jobs and 3 versions of 2 datasets." in restored.stdout
    after = new.finished(running)
    assert (after["state"], after["attempt"]) == ("succeeded", 2)
    publication = "/api/v1/datasets/lab/publication"
    assert new.request("PUT", publication, {"job_id": second["id"]})[0] == 200
    after = seen(new, "default", "lab")
    after["jobs"]["items"] = [job for job in after["jobs"]["items"] if job["id"] != running]
    assert after == before
    assert new.request("PUT", publication, {"job_id": first["id"]})[0] == 200
    assert new.run_job(dataset="lab", force=True)["outcome"] == "published"
    assert new.execute(f"ls {STATE}").split() == old.execute(f"ls {STATE}").split() == ["datasets", "postgres", "spill"]

    # What has jobs is let alone, and what is no whole backup changes nothing, not even by force.
    before = seen(new, "default", "lab")
    assert "this service has jobs" in restore(new, tmp_path / "saved", check=False).stderr
    (tmp_path / "cut").write_bytes((tmp_path / "saved").read_bytes()[:-20_000])
    assert "not a whole one" in restore(new, tmp_path / "cut", "--force", check=False).stderr
    damaged = (tmp_path / "saved").read_bytes().replace(b"3,\tCarol", b"3,\tDaisy")
    (tmp_path / "damaged").write_bytes(damaged)
    assert "damaged" in restore(new, tmp_path / "damaged", "--force", check=False).stderr
    assert seen(new, "default", "lab") == before
    assert new.run_job(dataset="lab", force=True)["outcome"] == "published", "its files are there"
    restore(new, tmp_path / "saved", "--force")
    assert len(new.get("/api/v1/jobs")["items"]) == 4


def test_a_restoration_that_is_killed_has_changed_nothing(containers: Containers, tmp_path: Path) -> None:
    service = containers.start_ready()
    upload(service, "lab")
    service.run_job(dataset="lab")
    back_up(service, tmp_path / "saved")
    upload(service, "later")
    before = seen(service, "lab")

    # It waits for the jobs, which somebody else has locked.
    docker("exec", "--detach", service.name, "psql", "-c", "BEGIN; LOCK TABLE jobs; SELECT pg_sleep(60)")
    wait_until(lambda: service.psql("SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock'"), "the jobs are locked")
    with ThreadPoolExecutor(1) as threads:
        killed = threads.submit(restore, service, tmp_path / "saved", "--force", check=False)
        wait_until(lambda: service.execute(f"ls -d {STATE}/restore/backup/datasets || true"), "it is unpacked")
        docker("kill", service.name)
        assert killed.result(30).returncode == 1
    docker("start", service.name)
    wait_until(service.is_ready, "ready again")

    assert seen(service, "lab") == before
    assert service.run_job(dataset="later")["outcome"] == "published"
    wait_until(lambda: "restore" not in service.execute(f"ls {STATE}"), "nothing is left of it")
    restore(service, tmp_path / "saved", "--force")
    assert service.execute(f"ls {STATE}/datasets").split() == ["lab"]


def test_a_volume_and_a_backup_of_an_older_version_go_on_in_this_one(containers: Containers, tmp_path: Path) -> None:
    """The rows and tables of revision 0003, in a database of this Postgres as that version made one."""
    old = containers.start_ready()
    dump = (ROOT / "tests/worker/databases/0003.sql").read_bytes()
    tables = "DROP VIEW user_features, experiment_summary; DROP TABLE jobs, datasets, dataset_versions, schedule, "
    tables += "user_feature_versions, rejections, worker_heartbeats, job_log, totals, version_statistics, "
    tables += "alembic_version CASCADE; DROP FUNCTION note_change"
    old.execute("kill -STOP $(pgrep --full '[w]orker')")
    old.psql(tables)
    load = ["docker", "exec", "--interactive", old.name, "psql", "--quiet", "--single-transaction", "-vON_ERROR_STOP=1"]
    subprocess.run(load, input=dump, check=True, capture_output=True)

    back_up(old, tmp_path / "saved")
    docker("restart", old.name)
    new = containers.start_ready()
    restore(new, tmp_path / "saved")

    for container in (old, new):
        wait_until(container.is_ready, "ready with the old tables")
        states = [container.finished(job["id"])["state"] for job in container.get("/api/v1/jobs")["items"]]
        assert states == ["succeeded", "succeeded", "failed", "succeeded", "succeeded"], "the interrupted one has run"
        [_, _, second, first] = container.get("/api/v1/datasets/default/publication")["versions"]
        assert container.get(f"/api/v1/jobs/{second['job_id']}/rejections")["items"][0]["code"] == "unknown_user"
        assert container.get(f"/api/v1/features?job={first['job_id']}&user_id=14")["items"][0]["total_experiments"] == 1
        back = container.request("PUT", "/api/v1/datasets/default/publication", {"job_id": second["job_id"]})
        assert back[0] == 200
        assert container.psql("SELECT total_experiments FROM experiment_summary") == "38"
