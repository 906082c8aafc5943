"""The environment: every variable, and what a wrong value is answered with."""

import os
from pathlib import Path
from typing import Any

import pytest

from worker.settings import InvalidSetting, Settings


def test_without_any_variable_the_defaults_of_the_design_hold() -> None:
    settings = Settings.from_env({})

    assert settings.data_dir == Path.cwd() / "data"
    assert settings.state_dir == Path("/var/lib/experiment-etl")
    assert settings.database_url.startswith("postgresql://")
    assert settings.redis_url.startswith("unix://")
    assert settings.api_bind == "127.0.0.1:8000"
    assert settings.api_token is None
    assert settings.trusted_hosts == ("localhost", "127.0.0.1", "[::1]")
    assert settings.etl_engine == "duckdb"
    assert settings.etl_threads == len(os.sched_getaffinity(0))
    assert settings.max_rejected_ratio == 0.1
    assert settings.max_upload_bytes == 1 << 30
    assert settings.max_queued_jobs == 1000
    assert settings.max_requests_per_minute is None
    assert settings.keep_versions == 5


def test_half_of_the_memory_is_the_engines() -> None:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    assert 0 < Settings.from_env({}).etl_memory_limit <= machine // 2


def test_the_embedded_servers_are_where_the_programs_run() -> None:
    settings = Settings.from_env({"RUN_DIR": "/run/etl"})

    assert settings.database_url == "postgresql://etl@/experiment_etl?host=/run/etl"
    assert settings.redis_url == "unix:///run/etl/redis.sock?db=0"


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("DATA_DIR", "/somewhere", "data_dir", Path("/somewhere")),
        ("STATE_DIR", "/somewhere", "state_dir", Path("/somewhere")),
        ("DATABASE_URL", "postgresql://u:p@host:5433/db", "database_url", "postgresql://u:p@host:5433/db"),
        ("REDIS_URL", "redis://:p@host:6380/1", "redis_url", "redis://:p@host:6380/1"),
        ("API_BIND", "0.0.0.0:8000", "api_bind", "0.0.0.0:8000"),
        ("API_BIND", "[::1]:65535", "api_bind", "[::1]:65535"),
        ("API_BIND", "localhost:1", "api_bind", "localhost:1"),
        ("API_TOKEN", "0123456789abcdef", "api_token", "0123456789abcdef"),
        ("TRUSTED_HOSTS", "ETL.example.com, 10.0.0.1,.,", "trusted_hosts", ("etl.example.com", "10.0.0.1")),
        ("ETL_ENGINE", "duckdb", "etl_engine", "duckdb"),
        ("ETL_MEMORY_LIMIT", "67108864", "etl_memory_limit", 64 << 20),
        ("ETL_MEMORY_LIMIT", "65536KiB", "etl_memory_limit", 64 << 20),
        ("ETL_MEMORY_LIMIT", "512 MiB", "etl_memory_limit", 512 << 20),
        ("ETL_MEMORY_LIMIT", "2GiB", "etl_memory_limit", 2 << 30),
        ("SPARK_REMOTE", "sc://spark.lab:15002", "spark_remote", "sc://spark.lab:15002"),
        ("SPARK_REMOTE", "sc://[::1]:15002/;token=x", "spark_remote", "sc://[::1]:15002/;token=x"),
        ("ETL_THREADS", "3", "etl_threads", 3),
        ("MAX_REJECTED_RATIO", "0", "max_rejected_ratio", 0),
        ("MAX_REJECTED_RATIO", "1", "max_rejected_ratio", 1),
        ("MAX_UPLOAD_BYTES", "2GiB", "max_upload_bytes", 2 << 30),
        ("MAX_QUEUED_JOBS", "7", "max_queued_jobs", 7),
        ("MAX_REQUESTS_PER_MINUTE", "600", "max_requests_per_minute", 600),
        ("KEEP_VERSIONS", " 7 ", "keep_versions", 7),
        ("ETL_SCHEDULE", "*/5 8-18 * * mon-fri", "etl_schedule", "*/5 8-18 * * mon-fri"),
    ],
)
def test_a_variable_is_read(variable: str, text: str, field: str, value: Any) -> None:
    assert getattr(Settings.from_env({variable: text}), field) == value


@pytest.mark.parametrize(
    "variable",
    [
        "DATABASE_URL",
        "REDIS_URL",
        "API_BIND",
        "API_TOKEN",
        "TRUSTED_HOSTS",
        "ETL_ENGINE",
        "SPARK_REMOTE",
        "ETL_MEMORY_LIMIT",
        "ETL_THREADS",
        "MAX_REJECTED_RATIO",
        "MAX_UPLOAD_BYTES",
        "MAX_QUEUED_JOBS",
        "MAX_REQUESTS_PER_MINUTE",
        "KEEP_VERSIONS",
        "ETL_SCHEDULE",
    ],
)
def test_an_empty_variable_is_one_that_is_not_set(variable: str) -> None:
    assert Settings.from_env({variable: ""}) == Settings.from_env({})


@pytest.mark.parametrize(
    ("variable", "text", "allowed"),
    [
        ("API_BIND", "8000", "HOST:PORT, such as 0.0.0.0:8000 or [::1]:8000"),
        ("API_BIND", ":8000", "HOST:PORT, such as 0.0.0.0:8000 or [::1]:8000"),
        ("API_BIND", "localhost", "HOST:PORT, such as 0.0.0.0:8000 or [::1]:8000"),
        ("API_BIND", "0.0.0.0:0", "HOST:PORT, such as 0.0.0.0:8000 or [::1]:8000"),
        ("API_BIND", "0.0.0.0:65536", "HOST:PORT, such as 0.0.0.0:8000 or [::1]:8000"),
        ("API_BIND", "::1:8000", "HOST:PORT, such as 0.0.0.0:8000 or [::1]:8000"),
        ("API_BIND", "unix:/tmp/api.sock", "HOST:PORT, such as 0.0.0.0:8000 or [::1]:8000"),
        ("TRUSTED_HOSTS", " , ", "host names, separated by commas"),
        ("ETL_ENGINE", "pandas", "one of duckdb, spark; spark needs SPARK_REMOTE"),
        ("ETL_ENGINE", "spark", "one of duckdb, spark; spark needs SPARK_REMOTE"),
        ("ETL_MEMORY_LIMIT", "much", "a size from 64MiB on, such as 512MiB or 2GiB"),
        ("ETL_MEMORY_LIMIT", "63MiB", "a size from 64MiB on, such as 512MiB or 2GiB"),
        ("ETL_THREADS", "257", "a whole number from 1 to 256"),
        ("ETL_MEMORY_LIMIT", "0", "a size from 64MiB on, such as 512MiB or 2GiB"),
        ("ETL_MEMORY_LIMIT", "-1GiB", "a size from 64MiB on, such as 512MiB or 2GiB"),
        ("ETL_MEMORY_LIMIT", "1.5GiB", "a size from 64MiB on, such as 512MiB or 2GiB"),
        ("ETL_MEMORY_LIMIT", "1GB", "a size from 64MiB on, such as 512MiB or 2GiB"),
        ("ETL_THREADS", "0", "a whole number from 1 to 256"),
        ("ETL_THREADS", "two", "a whole number from 1 to 256"),
        ("MAX_REJECTED_RATIO", "1.1", "a number from 0 to 1"),
        ("MAX_REJECTED_RATIO", "-0.1", "a number from 0 to 1"),
        ("MAX_REJECTED_RATIO", "nan", "a number from 0 to 1"),
        ("MAX_REJECTED_RATIO", "10%", "a number from 0 to 1"),
        ("MAX_UPLOAD_BYTES", "1MB", "a size from 64MiB on, such as 512MiB or 2GiB"),
        ("MAX_QUEUED_JOBS", "0", "a whole number from 1 on"),
        ("MAX_QUEUED_JOBS", "1e3", "a whole number from 1 on"),
        ("MAX_REQUESTS_PER_MINUTE", "0", "a whole number from 1 on"),
        ("KEEP_VERSIONS", "-1", "a whole number from 1 on"),
        ("ETL_SCHEDULE", "@daily", "five fields as cron has them, such as 0 3 * * 1-5"),
        ("ETL_SCHEDULE", "0 0 3 * * *", "five fields as cron has them, such as 0 3 * * 1-5"),
        ("ETL_SCHEDULE", "60 3 * * *", "five fields as cron has them, such as 0 3 * * 1-5"),
        ("ETL_SCHEDULE", "0 0 31 2 *", "five fields as cron has them, such as 0 3 * * 1-5"),
        ("KEEP_VERSIONS", "2.5", "a whole number from 1 on"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable_and_what_is_allowed(variable: str, text: str, allowed: str) -> None:
    with pytest.raises(InvalidSetting) as raised:
        Settings.from_env({variable: text})

    assert str(raised.value) == f"{variable}={text.strip()!r}: {allowed}"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("DATABASE_URL", "nonsense"),
        ("DATABASE_URL", "mysql://host/db"),
        ("REDIS_URL", "nonsense"),
        ("REDIS_URL", "http://host:6379"),
        ("API_TOKEN", "sixteen and words"),  # no client could send it
        ("API_TOKEN", "0123456789abcde"),  # wrong ones are not counted
        ("API_TOKEN", "ключ"),
    ],
)
def test_what_cannot_be_an_address_or_a_token_is_refused_at_the_start(variable: str, text: str) -> None:
    with pytest.raises(InvalidSetting, match=f"^{variable}"):
        Settings.from_env({variable: text})


# --- the directory of a dataset


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a data directory of its own, beside which something secret lies; no server is needed here."""
    (tmp_path / "data" / "plain").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    return Settings.from_env({"DATA_DIR": str(tmp_path / "data"), "STATE_DIR": str(tmp_path / "state")})


def test_the_default_dataset_is_the_data_directory_itself(settings: Settings) -> None:
    assert settings.directory("default") == settings.data_dir


def test_every_other_dataset_is_a_directory_in_it(settings: Settings) -> None:
    assert settings.directory("plain") == settings.data_dir / "plain"


def test_a_data_directory_behind_a_link_is_read(tmp_path: Path) -> None:
    """It is the operator who sets DATA_DIR."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    assert Settings.from_env({"DATA_DIR": str(tmp_path / "link")}).directory("default") == tmp_path / "real"


def test_a_name_without_a_directory_is_no_dataset(settings: Settings) -> None:
    assert settings.directory("absent") is None


def test_without_a_data_directory_there_is_no_default_dataset(tmp_path: Path) -> None:
    assert Settings.from_env({"DATA_DIR": str(tmp_path / "absent")}).directory("default") is None


def test_a_file_is_no_dataset(settings: Settings) -> None:
    (settings.data_dir / "file").write_text("x")

    assert settings.directory("file") is None


@pytest.mark.parametrize("name", ["a", "0", "a_b-c", "x" * 63])
def test_a_name_within_the_rule_is_allowed(settings: Settings, name: str) -> None:
    (settings.data_dir / name).mkdir()

    assert settings.directory(name) == settings.data_dir / name


@pytest.mark.parametrize("name", ["A", "_a", "-a", "a b", "a.b", "ä", "a\n", "x" * 64])
def test_a_name_beyond_the_rule_is_none_although_there_is_a_directory(settings: Settings, name: str) -> None:
    (settings.data_dir / name).mkdir()

    assert settings.directory(name) is None


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../secret", "plain/../../secret", "/etc", "plain/", "file:///etc", "a\0"]
)
def test_nothing_outside_the_data_directory_is_a_dataset(settings: Settings, name: str) -> None:
    assert settings.directory(name) is None


def test_a_link_is_no_dataset(settings: Settings) -> None:
    (settings.data_dir / "link").symlink_to(settings.data_dir.parent / "secret")

    assert settings.directory("link") is None


# --- uploaded datasets


def _uploaded(settings: Settings, name: str) -> Path:
    """Put a dataset where uploads are."""
    directory = settings.uploads_dir / f".upload-{name}" / "files"
    directory.mkdir(parents=True)
    (settings.uploads_dir / name).symlink_to(directory.parent.name)
    return settings.uploads_dir / name / "files"


def test_a_dataset_is_looked_for_among_the_uploads_where_data_dir_has_none_of_its_name(settings: Settings) -> None:
    assert settings.directory("lab") is None
    uploaded = _uploaded(settings, "lab")

    assert settings.directory("lab") == uploaded


def test_what_data_dir_has_comes_first(settings: Settings) -> None:
    for name in ("plain", "file", "link"):
        _uploaded(settings, name)
    (settings.data_dir / "file").write_text("x")
    (settings.data_dir / "link").symlink_to(settings.data_dir.parent / "secret")

    assert settings.directory("plain") == settings.data_dir / "plain"
    assert settings.directory("file") is None
    assert settings.directory("link") is None


def test_default_is_an_upload_only_while_data_dir_has_no_file_of_a_dataset(settings: Settings) -> None:
    (settings.data_dir / "notes.txt").write_text("x")
    uploaded = _uploaded(settings, "default")

    assert settings.directory("default") == uploaded
    (settings.data_dir / "compounds.csv.gz").write_text("x")
    assert settings.directory("default") == settings.data_dir


@pytest.mark.parametrize("name", [".upload-lab", "..", "../data", "lab/files", "LAB"])
def test_nothing_but_a_name_is_looked_for_among_the_uploads(settings: Settings, name: str) -> None:
    _uploaded(settings, "lab")

    assert settings.directory(name) is None


@pytest.mark.parametrize(
    "remote", ["spark:15002", "sc://", "sc://spark", "sc://spark:0", "http://spark:15002", "sc://spark:15002/x;token=1"]
)
def test_a_wrong_address_of_a_cluster_is_told_without_its_token(remote: str) -> None:
    with pytest.raises(InvalidSetting) as raised:
        Settings.from_env({"SPARK_REMOTE": remote})

    assert str(raised.value) == "SPARK_REMOTE: sc://HOST:PORT, or sc://HOST:PORT/;token=TOKEN;use_ssl=true"


def test_spark_may_be_the_engine_where_there_is_a_cluster() -> None:
    settings = Settings.from_env({"ETL_ENGINE": "spark", "SPARK_REMOTE": "sc://spark:15002"})

    assert (settings.etl_engine, settings.spark_remote) == ("spark", "sc://spark:15002")
