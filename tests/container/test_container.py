"""The image as a user runs it."""

import json
import re
import subprocess

import pytest

from tests.container.service import Containers, docker, stopwatch
from tests.servers import wait_until
from worker import database

pytestmark = pytest.mark.container

HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


def test_the_sample_becomes_features(containers: Containers) -> None:
    container = containers.start_ready()

    job = container.run_job()

    assert (job["state"], job["outcome"], job["reconciled"]) == ("succeeded", "published", True)
    assert container.get("/api/v1/features/1")["total_experiments"] == 3
    assert container.psql("SELECT count(*) FROM user_features") == "14"
    assert container.psql("SELECT total_users FROM experiment_summary") == "14"


def test_everything_runs_as_one_unprivileged_user_also_without_any_privilege(containers: Containers) -> None:
    container = containers.start_ready(*HARDENED)

    assert container.run_job()["outcome"] == "published"
    users = container.execute("stat -c %U /proc/[0-9]*").split()
    assert set(users) == {"etl"}
    assert container.execute("grep ^CapEff /proc/1/status").split() == ["CapEff:", "0" * 16]
    assert container.execute("tr '\\0' ' ' </proc/1/cmdline").split()[1].endswith("supervisord")


def test_the_pipelines_queries_are_compiled_when_the_image_is_made(image: str) -> None:
    """Whoever runs it: what the build wrote must be there to read for the service's user."""
    look = (
        "from etl import features, queries, validate; queries._sql = None;"
        "print(len(queries.of_steps(validate.steps, 'duckdb') + queries.of_steps(features.steps, 'duckdb')))"
    )

    assert int(docker("run", "--rm", "--entrypoint", "python", image, "-c", look).stdout) > 10


def test_a_first_start_finds_the_schema_and_no_password_in_the_image(containers: Containers) -> None:
    container = containers.start("--env", "POSTGRES_PASSWORD=secret", command="postgres")
    wait_until(lambda: "ready to accept connections" in container.logs(), "Postgres runs")

    assert container.psql("SELECT version_num FROM alembic_version") == database.HEAD
    of_roles = "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_authid WHERE rolcanlogin AND rolpassword IS {}"
    assert container.psql(of_roles.format("NULL"), "-Upostgres") == "postgres"
    assert container.psql(of_roles.format("NOT NULL"), "-Upostgres") == "etl"


def test_features_and_history_survive_the_container(containers: Containers) -> None:
    volume = containers.volume()
    first = containers.start_ready("--volume", f"{volume}:/var/lib/experiment-etl")
    job = first.run_job()
    features = first.get("/api/v1/features")
    docker("rm", "--force", first.name)

    second = containers.start_ready("--volume", f"{volume}:/var/lib/experiment-etl")

    assert second.get("/api/v1/features") == features
    assert second.get(f"/api/v1/jobs/{job['id']}") == job


def test_a_stop_in_the_middle_of_a_job_is_orderly_and_the_next_start_finishes_it(
    containers: Containers, large_dataset: object
) -> None:
    container = containers.start_ready("--volume", f"{large_dataset}:/data:ro")
    _, job = container.request("POST", "/api/v1/jobs")
    wait_until(lambda: container.get(f"/api/v1/jobs/{job['id']}")["stage"], "the job runs")

    with stopwatch() as seconds:
        docker("stop", container.name)

    assert seconds[0] < 10
    assert container.inspect("{{.State.ExitCode}}") == "0"
    assert "database system is shut down" in container.logs()

    docker("start", container.name)
    wait_until(container.is_ready, "ready again")
    finished = container.finished(job["id"])
    assert (finished["state"], finished["attempt"]) == ("succeeded", 2)


@pytest.mark.parametrize("program", ["postgres", "redis-server", "celery", "gunicorn", "worker.sweeper"])
def test_a_program_that_is_killed_is_started_again(program: str, containers: Containers) -> None:
    container = containers.start_ready()
    find = f"pgrep --full '[{program[0]}]{program[1:]}'"
    before = set(container.execute(find).split())

    container.execute(f"kill -KILL $({find} --oldest)")

    def is_another() -> bool:
        found = set(container.execute(f"{find} || true").split())
        return bool(found) and not found & before

    wait_until(is_another, f"{program} runs again")
    wait_until(container.is_ready, "ready again")
    assert container.run_job()["outcome"] == "published"


def test_a_program_that_cannot_start_ends_the_container_and_is_named(containers: Containers) -> None:
    container = containers.start("--env", "API_BIND=192.0.2.1:8000")

    assert container.ended() != 0
    assert re.search(r"program api could not be started", container.logs())


def test_a_program_that_ends_without_having_been_asked_ends_the_container(containers: Containers) -> None:
    container = containers.start_ready()
    wait_until(lambda: "sweeper entered RUNNING state" in container.logs(), "the sweeper counts as started")

    container.execute("kill -TERM $(pgrep --full '[w]orker.sweeper')")

    assert container.ended() != 0
    assert "program sweeper ended without having been asked to" in container.logs()


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("MAX_REJECTED_RATIO=lots", "MAX_REJECTED_RATIO='lots': a number from 0 to 1"),
        ("API_BIND=0.0.0.0:http", "API_BIND='0.0.0.0:http': HOST:PORT"),
    ],
)
def test_a_wrong_setting_is_told_before_anything_starts(setting: str, told: str, containers: Containers) -> None:
    container = containers.start("--env", setting)

    assert container.ended() != 0
    assert told in container.logs()
    assert "spawned" not in container.logs()


def test_a_volume_of_another_postgres_is_refused(containers: Containers) -> None:
    volume = containers.volume()
    script = "mkdir -p /var/lib/experiment-etl/postgres/16 && echo 16 >/var/lib/experiment-etl/postgres/16/PG_VERSION"
    option = ("--volume", f"{volume}:/var/lib/experiment-etl")
    docker("run", "--rm", *option, "--entrypoint", "bash", containers.image, "-c", script)

    container = containers.start(*option)

    assert container.ended() != 0
    assert "holds a database of Postgres 16" in container.logs()
    assert "bring it back with scripts/restore.sh" in container.logs()


def test_every_line_of_the_log_is_a_json_object_and_a_job_is_named_in_its_own(containers: Containers) -> None:
    container = containers.start_ready()
    job = container.run_job()
    docker("stop", container.name)

    lines = [json.loads(line) for line in container.logs().splitlines()]

    assert {line["program"] for line in lines} >= {"postgres", "redis", "api", "worker", "sweeper", "supervisord"}
    assert any(line.get("job_id") == job["id"] and line["program"] == "worker" for line in lines)


def test_docker_itself_knows_whether_the_service_is_healthy(containers: Containers) -> None:
    container = containers.start_ready()
    wait_until(lambda: container.inspect("{{.State.Health.Status}}") == "healthy", "healthy")

    worker = container.execute("pgrep --oldest --full celery").strip()
    container.execute(f"kill -STOP {worker}")

    wait_until(lambda: container.inspect("{{.State.Health.Status}}") == "unhealthy", "unhealthy", seconds=90)
    assert "no worker was heard of" in container.inspect("{{json .State.Health.Log}}")


def test_a_new_feature_appears_on_a_volume_that_holds_published_versions(containers: Containers) -> None:
    volume = containers.volume()
    option = ("--volume", f"{volume}:/var/lib/experiment-etl")
    old = containers.start_ready(*option)
    old.run_job()
    docker("stop", old.name)
    name = f"{containers.image}-with-feature"
    function = (
        '\\n\\n@feature(longest_run_time="double precision")\\n'
        "def longest_run_time(t: Tables) -> ir.Table:\\n"
        '    return t.experiments.group_by("user_id").agg(longest_run_time=t.experiments.experiment_run_time.max())\\n'
    )
    dockerfile = f"FROM {containers.image}\nUSER root\nRUN printf '{function}' >>/app/etl/features.py\nUSER etl\n"
    build = ["docker", "build", "--quiet", "--tag", name, "-"]
    subprocess.run(build, input=dockerfile.encode(), check=True, capture_output=True)

    new = containers.start_ready(*option, image=name)

    assert new.get("/api/v1/features/1")["longest_run_time"] is None
    assert new.run_job()["outcome"] == "published"  # not `unchanged`: the pipeline is another one
    assert new.get("/api/v1/features/1")["longest_run_time"] == 12.5
    assert new.psql("SELECT longest_run_time FROM user_features WHERE user_id = 1") == "12.5"


def test_the_reader_may_read_the_views_and_nothing_else(containers: Containers) -> None:
    container = containers.start_ready("--env", "READER_PASSWORD=secret of the reader")
    container.run_job()

    def as_reader(statement: str) -> str:
        connection = "host=127.0.0.1 user=reader dbname=experiment_etl password='secret of the reader'"
        arguments = ["exec", container.name, "psql", connection, "-Atc", statement]
        finished = docker(*arguments, check=False)
        return (finished.stdout + finished.stderr).strip()

    assert as_reader("SELECT count(*) FROM user_features") == "14"
    assert as_reader("SELECT count(*) FROM experiment_summary") == "1"
    assert "permission denied" in as_reader("SELECT * FROM jobs")
    assert "permission denied" in as_reader("DELETE FROM user_feature_versions")
    assert "permission denied" in as_reader("CREATE TABLE mine ()")
    assert "secret of the reader" not in container.logs()


def test_without_a_reader_nobody_reaches_the_database_over_the_network(containers: Containers) -> None:
    container = containers.start_ready()

    listening = container.execute("cat /proc/net/tcp /proc/net/tcp6")

    assert {int(port, 16) for port in re.findall(r": [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:0000 0A", listening)} == {8000}


def test_a_dry_run_is_compared_and_a_number_explained_without_any_privilege(containers: Containers) -> None:
    container = containers.start_ready(*HARDENED)
    container.run_job()
    dry_run = container.run_job(mode="dry_run")

    diff = container.get(dry_run["links"]["diff"])
    explanation = container.get("/api/v1/features/1?explain=true")["explanation"]

    assert (dry_run["outcome"], diff["counts"]) == ("dry_run", {"added": 0, "removed": 0, "changed": 0})
    assert [(of["file"], of["count"]) for of in explanation["total_experiments"]] == [("user_experiments.csv", 3)]
