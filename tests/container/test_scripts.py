"""The scripts as a person types them."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from socket import socket
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest

from tests.conftest import ROOT, SAMPLE, missing
from tests.container import service
from tests.container.service import docker
from tests.servers import wait_until

pytestmark = pytest.mark.container

# Names and a port of the tests' own: a service that somebody runs on this machine, and its data, stay untouched.
NAME = f"etl-test-{uuid4().hex[:8]}"
with socket() as _free:
    _free.bind(("127.0.0.1", 0))
    PORT = _free.getsockname()[1]


def run(
    script: str, *arguments: str, cwd: Path, check: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {"BASE_URL": f"http://127.0.0.1:{PORT}", "EXPERIMENT_ETL_NAME": NAME} | variables
    return service.script(script, *arguments, cwd=cwd, check=check, **environment)


@pytest.fixture
def stopped(docker_engine: None, tmp_path: Path) -> Iterator[None]:  # noqa: ARG001
    yield
    run("stop.sh", "--purge", cwd=tmp_path, check=False)
    docker("rmi", "--force", NAME, check=False)


@pytest.mark.usefixtures("stopped")
def test_the_demo_shows_the_features_of_the_sample_and_a_job_that_fails_says_so(tmp_path: Path) -> None:
    demo = run("demo.sh", "--port", str(PORT), cwd=tmp_path)

    assert "succeeded, published" in demo.stdout
    assert re.search(r"default │ +3 │ Carol", demo.stdout)
    assert re.search(r"default │ +14 │ +12 │ +37 │ +2\.643 │ +3\.083 │ +2\.324", demo.stdout)

    again = run("trigger_etl.sh", cwd=tmp_path)
    assert "succeeded, unchanged" in again.stdout
    unknown = run("trigger_etl.sh", "nothing-of-this-name", cwd=tmp_path, check=False)
    assert unknown.returncode == 1
    assert "there is no dataset 'nothing-of-this-name'" in unknown.stderr

    mine = tmp_path / "mine"
    shutil.copytree(SAMPLE, mine)
    mine.chmod(0o755)
    tmp_path.chmod(0o755)
    (mine / "users.csv").write_text("user_id,name,email,signup_date\n3,Carol,carol@example.com,2023-03-10\n")
    (mine / "user_experiments.csv").write_text("experiment_id,user_id,experiment_compound_ids,experiment_run_time\n")
    run("run.sh", "--port", str(PORT), "--data", str(mine), cwd=tmp_path)
    held = run("trigger_etl.sh", cwd=tmp_path)
    assert "succeeded, held" in held.stdout
    assert "Not published: 13 of the 14 published users would be dropped. What would change: curl http" in held.stdout
    assert re.search(r"curl -X PUT --json '.+' http.*/default/publication", held.stdout)
    assert "Nothing was published. What would change: curl" in run("trigger_etl.sh", "--dry-run", cwd=tmp_path).stdout

    (mine / "users.csv").write_text("user_id,name\n")
    failed = run("trigger_etl.sh", cwd=tmp_path, check=False)
    assert failed.returncode == 1
    assert "missing_column: users.csv line 1, column email" in failed.stdout
    assert re.search(r"default │ +3 │ Carol", run("show_results.sh", cwd=tmp_path).stdout), "the old version stays"


@pytest.mark.usefixtures("docker_engine")
def test_every_script_has_a_help_that_names_its_use(tmp_path: Path) -> None:
    for script in sorted((ROOT / "scripts").glob("*.sh")):
        assert script.name in run(script.name, "--help", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--port", "0"], "--port 0: a port is a number from 1 to 65535"),
        (["--port", "99999"], "--port 99999: a port is a number from 1 to 65535"),
        (["--postgres-port", "http"], "--postgres-port http: a port is a number from 1 to 65535"),
        (["--data"], "--data needs a value"),
        (["--data", "--native"], "--data needs a value"),
        (["--data", "/nowhere"], "there is no folder /nowhere"),
    ],
)
def test_what_cannot_be_a_port_or_a_folder_is_refused_in_a_sentence(
    options: list[str], told: str, tmp_path: Path
) -> None:
    refused = run("run.sh", *options, cwd=tmp_path, check=False)

    assert refused.returncode == 1
    assert refused.stderr.startswith(f"run.sh: {told}")
    assert len(refused.stderr.splitlines()) == 1


def without(command: str, directory: Path) -> str:
    """Return a PATH of everything that this machine has but the one command."""
    directory.mkdir()
    for path in (path for folder in ("/usr/bin", "/usr/sbin") for path in Path(folder).iterdir()):
        if path.name != command and not (directory / path.name).exists():
            (directory / path.name).symlink_to(path)
    return str(directory)


NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


@pytest.mark.parametrize(
    ("command", "variables", "status", "told"),
    [
        ("run.sh --nonsense", {}, 64, "run.sh: there is no option --nonsense"),
        ("demo.sh --nonsense", {}, 64, "demo.sh: there is no option --nonsense"),
        ("stop.sh --nonsense", {}, 64, "stop.sh: there is no option --nonsense"),
        ("check.sh --nonsense", {}, 64, "scripts/check.sh: there is no option --nonsense"),
        ("trigger_etl.sh one two", {}, 64, "trigger_etl.sh: one dataset at a time"),
        ("trigger_etl.sh ../etc", {}, 1, "trigger_etl.sh: '../etc' is not the name of a dataset"),
        ("trigger_etl.sh", {"BASE_URL": "http://127.0.0.1:9"}, 1, "no answer from http://127.0.0.1:9 (is the service"),
        ("show_results.sh /nowhere", {}, 1, "show_results.sh: cannot read /nowhere"),
        ("show_results.sh", {}, 1, f"there is no container {NAME}: scripts/run.sh starts the service"),
        ("show_results.sh", NO_ENGINE, 1, "no Docker Engine answers, and the service does not run on this machine"),
        ("backup.sh /nowhere/file", {}, 1, "backup.sh: there is no folder /nowhere that you may write to"),
        ("backup.sh", {"CONTAINER": "nothing-here"}, 1, "there is no container nothing-here"),
        ("restore.sh", {}, 64, "restore.sh: which FILE?"),
        ("restore.sh /nowhere", {}, 1, "restore.sh: cannot read /nowhere"),
    ],
)
@pytest.mark.usefixtures("docker_engine")
def test_what_is_wrong_is_said_with_the_way_out(
    command: str, variables: dict[str, str], status: int, told: str, tmp_path: Path
) -> None:
    refused = run(*command.split(), cwd=tmp_path, check=False, **variables)

    assert (refused.returncode, told in refused.stderr) == (status, True), refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", ["run.sh", "trigger_etl.sh"])
@pytest.mark.usefixtures("docker_engine")
def test_a_machine_without_curl_is_told_so_at_once(script: str, tmp_path: Path) -> None:
    refused = run(script, cwd=tmp_path, check=False, PATH=without("curl", tmp_path / "bin"))

    assert "curl is needed and not installed (apt-get install curl)" in refused.stderr


@pytest.mark.parametrize("script", ["run.sh", "stop.sh", "backup.sh", "show_results.sh"])
@pytest.mark.usefixtures("docker_engine")
def test_who_may_not_use_the_engine_is_told_who_may(script: str) -> None:
    """As somebody else, in a place that everybody may read; root may use every engine."""
    if os.geteuid():
        missing("root, to become somebody else")
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    with TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        shutil.copytree(ROOT / "scripts", f"{place}/scripts")
        environment = os.environ | {"HOME": place, "EXPERIMENT_ETL_NAME": NAME}
        command = [*nobody, f"{place}/scripts/{script}"]
        refused = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)

    assert refused.returncode == 1
    assert "this as root or as a member of the group docker" in refused.stderr


@pytest.mark.usefixtures("stopped")
def test_a_port_that_is_taken_and_a_wrong_token_are_named(tmp_path: Path) -> None:
    with socket() as taken:
        taken.bind(("127.0.0.1", PORT))
        taken.listen()
        refused = run("run.sh", "--port", str(PORT), cwd=tmp_path, check=False)
    assert refused.returncode == 1
    assert f"port {PORT} of this machine is in use: choose another one with --port" in refused.stderr

    run("run.sh", "--port", str(PORT), cwd=tmp_path, API_TOKEN="the token of the tests".replace(" ", "-"))
    wrong = run("trigger_etl.sh", cwd=tmp_path, check=False, API_TOKEN="another-token-of-the-tests")
    assert "the service answered 401: " in wrong.stderr
    assert "and API_TOKEN is another one" in wrong.stderr


def test_compose_runs_three_workers_on_the_same_jobs(image: str, tmp_path: Path) -> None:
    secrets = {
        "POSTGRES_PASSWORD": "p0stgres",
        "REDIS_PASSWORD": "r3dis",
        "API_TOKEN": "t0ken-of-the-tests",
        "PORT": str(PORT),
    }
    secrets["EXPERIMENT_ETL_NAME"] = image

    file = str(ROOT / "docker-compose.yml")

    def compose(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker-compose", "--project-name", NAME, "--file", file, *arguments],
            cwd=tmp_path,
            env=os.environ | secrets,
            capture_output=True,
            text=True,
            check=False,
        )

    def workers() -> str:
        count = "SELECT count(*) FROM worker_heartbeats"
        return compose("exec", "-T", "postgres", "psql", "-Atc", count).stdout.strip()

    try:
        up = compose("up", "--detach", "--scale", "worker=3")
        assert up.returncode == 0, up.stderr
        wait_until(lambda: workers() == "3", "three workers are there", seconds=60)
        triggered = run("trigger_etl.sh", cwd=tmp_path, API_TOKEN="t0ken-of-the-tests")
        assert "succeeded, published" in triggered.stdout
        refused = run("trigger_etl.sh", cwd=tmp_path, check=False, API_TOKEN="wrong")
        assert refused.returncode == 1
        api = compose("ps", "--quiet", "api").stdout.strip()
        run("backup.sh", "saved", cwd=tmp_path, CONTAINER=api)
        restored = run("restore.sh", "--force", "saved", cwd=tmp_path, CONTAINER=api)
        assert "Restored 1 jobs and 1 versions of 1 datasets." in restored.stdout
        ports = docker("ps", "--filter", f"name={NAME}", "--format", "{{.Ports}}").stdout
        assert set(re.findall(r"[0-9.:]+->\d+", ports)) == {f"127.0.0.1:{PORT}->8000"}
    finally:
        compose("down", "--volumes")


def on_a_fresh_machine(*commands: str) -> str:
    """Run commands as root in a copy of the checkout, where nothing is installed but what Debian cannot do without."""
    script = " && ".join(["cp -r /checkout /root/service", "rm -rf /root/service/.venv", "cd /", *commands])
    mount = f"{ROOT}:/checkout:ro"
    finished = docker("run", "--rm", "--volume", mount, "debian:trixie-slim", "bash", "-c", script, check=False)
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-4000:]
    return finished.stdout


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("docker_engine")
def test_the_demo_runs_on_a_fresh_machine_without_an_engine() -> None:
    ask = r"GET /openapi.json HTTP/1.0\r\nHost: localhost\r\n\r\n"
    described = f"exec 3<>/dev/tcp/127.0.0.1/8000 && printf '{ask}' >&3 && cat <&3"
    output = on_a_fresh_machine("/root/service/scripts/demo.sh", described, "/root/service/scripts/stop.sh")

    assert re.search(r"default │ +3 │ Carol", output)
    assert '"openapi":"3.1.0"' in output


@pytest.mark.timeout(2400)
@pytest.mark.usefixtures("docker_engine")
def test_the_tests_pass_on_a_fresh_machine_with_the_versions_of_the_image() -> None:
    output = on_a_fresh_machine(
        "/root/service/scripts/test.sh --numprocesses auto -p no:cacheprovider"
        " -m 'not browser and not container and not faults and not spark and not exhaustive'"
    )

    # What needs to mount a disk is skipped in there.
    assert re.search(r"^=+ \d+ passed(, \d+ skipped)? in", output, re.MULTILINE)
