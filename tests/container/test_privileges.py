"""What the service can do to the machine, and what a reader and the service's own role can do to the database."""

import re
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest

from tests.container.service import Container, Containers, docker
from tests.container.test_container import HARDENED
from tests.servers import wait_until

pytestmark = pytest.mark.container

SECRETS = {"READER_PASSWORD": "secret of the reader", "API_TOKEN": "token-of-the-api"}


def reader(container: Container, password: str = SECRETS["READER_PASSWORD"]) -> psycopg2.extensions.connection:
    host, port = docker("port", container.name, "5432/tcp").stdout.splitlines()[0].rsplit(":", 1)
    return psycopg2.connect(host=host, port=port, user="reader", password=password, dbname="experiment_etl")


@pytest.fixture(scope="module")
def published(image: str) -> Iterator[Container]:
    """A container without any privilege, with a published version and Postgres on a port of this machine."""
    containers = Containers(image)
    settings = ("--env", f"READER_PASSWORD={SECRETS['READER_PASSWORD']}", "--publish", "127.0.0.1::5432")
    try:
        container = containers.start_ready(*HARDENED, *settings)
        container.run_job()
        yield container
    finally:
        containers.remove_all()


def test_no_process_has_a_capability_or_could_get_one(published: Container) -> None:
    rows = published.execute("grep -hE '^(Cap...|NoNewPrivs|Uid|Gid):' /proc/[0-9]*/status || true").splitlines()
    found = {tuple(row.split()) for row in rows}

    assert {row[1:] for row in found if row[0].startswith("Cap")} == {("0" * 16,)}
    assert {row for row in found if row[0] in ("Uid:", "Gid:")} == {("Uid:", *["10001"] * 4), ("Gid:", *["10001"] * 4)}
    assert ("NoNewPrivs:", "1") in found


def test_without_any_option_no_process_has_a_capability_either(containers: Containers) -> None:
    container = containers.start_ready()

    rows = container.execute("grep -hE '^Cap(Inh|Prm|Eff|Amb):' /proc/[0-9]*/status || true").split()

    assert set(rows[1::2]) == {"0" * 16}


def test_no_program_of_the_image_runs_as_its_owner(published: Container) -> None:
    assert published.execute("find / -xdev -type f -perm /6000 2>/dev/null || true") == ""


def test_what_the_service_writes_is_its_own(published: Container) -> None:
    find = 'find "$RUN_DIR" "$STATE_DIR" -perm /077 -printf "%m %p\\n"; find "$RUN_DIR" "$STATE_DIR" ! -user etl'

    assert published.execute(find) == ""


def test_the_kernel_would_kill_postgres_last(published: Container) -> None:
    script = 'cd /proc; for at in [0-9]*; do echo "$(<$at/oom_score_adj) $(tr "\\0" " " <$at/cmdline)"; done; true'
    scores: dict[str, set[int]] = {"postgres": set(), "redis-server": set(), "celery": set()}
    scores |= {"gunicorn": set(), "worker.sweeper": set(), "supervisord": set()}
    for line in published.execute(script).splitlines():
        score, _, command = line.partition(" ")
        for program, found in scores.items():
            if program in command and "echo" not in command:
                found.add(int(score))

    lowest = scores["postgres"]
    assert len(lowest) == 1
    assert scores["supervisord"] == lowest
    base = min(lowest)
    assert scores["redis-server"] == scores["gunicorn"] == scores["worker.sweeper"] == {base + 200}
    assert min(scores["celery"]) == base + 300


def test_a_score_that_the_service_is_started_with_is_added_to(containers: Containers) -> None:
    container = containers.start_ready("--oom-score-adj", "900")

    assert container.execute("cat /proc/$(pgrep --oldest redis-server)/oom_score_adj").strip() == "1000"
    assert container.execute("cat /proc/$(pgrep --oldest postgres)/oom_score_adj").strip() == "900"


def test_a_reader_needs_the_right_password_over_the_network(published: Container) -> None:
    with closing(reader(published)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT (SELECT count(*) FROM user_features), (SELECT count(*) FROM experiment_summary)")
        assert cursor.fetchone() == (14, 1)
    for wrong in ("wrong", ""):
        with pytest.raises(psycopg2.OperationalError, match=r"password authentication failed|no password supplied"):
            reader(published, wrong)
    host, port = docker("port", published.name, "5432/tcp").stdout.splitlines()[0].rsplit(":", 1)
    for role in ("etl", "postgres"):
        with pytest.raises(psycopg2.OperationalError, match=r"no pg_hba\.conf entry"):
            psycopg2.connect(host=host, port=port, user=role, password="", dbname="experiment_etl")
    with pytest.raises(psycopg2.OperationalError, match=r"no pg_hba\.conf entry"):
        psycopg2.connect(host=host, port=port, user="reader", password="", dbname="postgres")
    assert published.psql("SELECT rolpassword ~ '^SCRAM-SHA-256' FROM pg_authid WHERE rolname = 'reader'", "-Upostgres")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM jobs",
        "SELECT pg_notify('x', 'y')",
        "SELECT pg_logical_emit_message(false, 'x', 'y')",
        "SELECT * FROM rejections",
        "SELECT * FROM user_feature_versions",
        "SELECT * FROM pg_authid",
        "SELECT * FROM pg_largeobject",
        "UPDATE user_feature_versions SET name = ''",
        "DELETE FROM dataset_versions",
        "INSERT INTO datasets (name) VALUES ('mine')",
        "CREATE TABLE mine ()",
        "CREATE TEMPORARY TABLE mine ()",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "DROP VIEW user_features",
        "LOCK TABLE user_features IN SHARE MODE",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY (SELECT 1) TO '/tmp/mine'",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT pg_ls_dir('.')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT lo_create(0)",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT pg_advisory_lock(7305712918)",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'etl'",
        "SET temp_file_limit = -1",
        "SET ROLE etl",
        "ALTER ROLE reader CONNECTION LIMIT -1",
        "ALTER ROLE etl PASSWORD 'mine'",
    ],
)
def test_a_reader_may_read_the_two_views_and_nothing_else(statement: str, published: Container) -> None:
    with (
        closing(reader(published)) as connection,
        connection.cursor() as cursor,
        pytest.raises((psycopg2.errors.InsufficientPrivilege, psycopg2.errors.WrongObjectType)),
    ):
        cursor.execute(statement)


def test_readers_leave_connections_to_the_service_and_do_not_hold_it_up_for_ever(published: Container) -> None:
    connections: list[psycopg2.extensions.connection] = []
    try:
        connections.extend(reader(published) for _ in range(20))
        with pytest.raises(psycopg2.OperationalError, match="too many connections for role"):
            reader(published)
        assert published.run_job(force=True)["outcome"] == "published"
        with connections[0].cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('statement_timeout'), current_setting('idle_in_transaction_session_timeout'),"
                " current_setting('temp_file_limit')"
            )
            assert cursor.fetchone() == ("1h", "5min", "4GB")
    finally:
        for connection in connections:
            connection.close()


def test_the_services_own_role_owns_neither_the_database_nor_the_server(published: Container) -> None:
    assert published.psql("SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = 'etl'") == "f"
    for statement in ("DROP DATABASE experiment_etl", "GRANT CONNECT ON DATABASE experiment_etl TO PUBLIC"):
        refused = docker("exec", published.name, "psql", "-c", statement, check=False)
        assert "must be owner" in refused.stderr or "no privileges were granted" in refused.stderr, refused.stderr


def test_a_volume_whose_database_the_services_role_owned_goes_on_without(containers: Containers) -> None:
    container = containers.start_ready()
    container.run_job()
    of_the_reader = "ALTER ROLE reader SET search_path = nowhere"  # which it may do itself
    for statement in (
        "ALTER DATABASE experiment_etl OWNER TO etl",
        "REVOKE ALL ON SCHEMA public FROM etl",
        of_the_reader,
    ):
        container.psql(statement, "-U", "postgres")

    docker("restart", container.name)
    wait_until(container.is_ready, "ready again")

    assert container.psql("SELECT datdba::regrole FROM pg_database WHERE datname = current_database()") == "postgres"
    assert "search_path" not in container.psql("SELECT rolconfig FROM pg_roles WHERE rolname = 'reader'")
    assert container.run_job(force=True)["outcome"] == "published"


def test_no_secret_is_logged_or_on_a_command_line(containers: Containers) -> None:
    options = [option for name, value in SECRETS.items() for option in ("--env", f"{name}={value}")]
    container = containers.start(*options)
    lines: set[str] = set()

    def is_ready_and_watched() -> bool:
        lines.update(container.execute("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' || true").splitlines())
        return container.is_ready()

    wait_until(is_ready_and_watched, "ready")
    docker("restart", container.name)
    wait_until(is_ready_and_watched, "ready again")

    seen = "\n".join(lines) + container.logs()
    assert not [name for name, value in SECRETS.items() if value in seen]
    assert set(container.execute("stat -c %a /proc/[0-9]*/environ || true").split()) == {"400"}


def test_redis_is_never_on_the_network_and_postgres_only_for_a_reader(published: Container) -> None:
    listening = published.execute("cat /proc/net/tcp /proc/net/tcp6")

    assert {int(port, 16) for port in re.findall(r": [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:0000 0A", listening)} == {
        8000,
        5432,
    }
