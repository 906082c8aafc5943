"""The only reader of the environment."""

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from cronsim import CronSim, CronSimError
from psycopg2.extensions import parse_dsn

from etl.contract import FILE_BYTES_MAX, MAX_REJECTED_RATIO, TABLES
from worker import memory

Value = TypeVar("Value")

DEFAULT_DATASET = "default"
DATASET_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
UPLOADED_FILES = "files"  # the directory in that of an upload
ENGINES = ("duckdb", "spark")
SECRET = frozenset({"API_TOKEN", "DATABASE_URL", "REDIS_URL", "SPARK_REMOTE"})

_SIZE_MIN, _THREADS_MAX, _PORT_MAX = 64 << 20, 256, 65535
_CRON_FIELDS = 5
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class InvalidSetting(Exception):  # noqa: N818 - it reads as what it says
    """A variable has a value that is not allowed; the message names both."""


@dataclass(frozen=True)
class Settings:
    """Everything that can be set; README.md has the table. Sizes are in bytes."""

    data_dir: Path
    state_dir: Path
    database_url: str
    database_is_embedded: bool
    redis_url: str
    api_bind: str
    api_token: str | None
    trusted_hosts: tuple[str, ...]
    etl_engine: str
    spark_remote: str | None
    etl_memory_limit: int
    etl_threads: int
    max_rejected_ratio: float
    max_file_bytes: int
    max_upload_bytes: int
    max_queued_jobs: int
    max_requests_per_minute: int | None
    keep_versions: int
    job_time_limit_s: int
    etl_schedule: str | None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the variables. Raises InvalidSetting, which names the variable and what is allowed, but no secret."""
        run_dir = environ.get("RUN_DIR", "/tmp/experiment-etl")  # noqa: S108 - 0700 and checked by scripts/start.sh

        def read(name: str, default: Value, parse: Callable[[str], Value], allowed: str) -> Value:
            text = environ.get(name, "").strip()
            if not text:
                return default
            try:
                return parse(text)
            except ValueError as error:
                shown = name if name in SECRET else f"{name}={text!r}"
                raise InvalidSetting(f"{shown}: {allowed}") from error

        spark_remote = read("SPARK_REMOTE", None, _spark, "sc://HOST:PORT, or sc://HOST:PORT/;token=TOKEN;use_ssl=true")

        def engine(text: str) -> str:
            if text not in ENGINES or (text == "spark" and not spark_remote):
                raise ValueError(text)
            return text

        return cls(
            data_dir=Path(environ.get("DATA_DIR") or "data").absolute(),
            state_dir=Path(environ.get("STATE_DIR") or "/var/lib/experiment-etl"),
            database_url=read(
                "DATABASE_URL",
                f"postgresql://etl@/experiment_etl?host={run_dir}",
                _url("postgresql", "postgres"),
                "postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
            ),
            database_is_embedded=not environ.get("DATABASE_URL", "").strip(),
            redis_url=read(
                "REDIS_URL",
                f"unix://{run_dir}/redis.sock?db=0",
                _url("redis", "rediss", "unix"),
                "redis://:PASSWORD@HOST:PORT/DB, rediss:// the same with TLS, or unix://PATH?db=DB",
            ),
            api_bind=read("API_BIND", "127.0.0.1:8000", _bind, "HOST:PORT, such as 0.0.0.0:8000 or [::1]:8000"),
            api_token=read("API_TOKEN", None, _token, "16 or more visible ASCII characters without blanks"),
            trusted_hosts=read(
                "TRUSTED_HOSTS", ("localhost", "127.0.0.1", "[::1]"), _hosts, "host names, separated by commas"
            ),
            etl_engine=read("ETL_ENGINE", "duckdb", engine, f"one of {', '.join(ENGINES)}; spark needs SPARK_REMOTE"),
            spark_remote=spark_remote,
            etl_memory_limit=read(
                "ETL_MEMORY_LIMIT", memory.available() // 2, _size, "a size from 64MiB on, such as 512MiB or 2GiB"
            ),
            etl_threads=read("ETL_THREADS", len(os.sched_getaffinity(0)), _threads, "a whole number from 1 to 256"),
            max_rejected_ratio=read("MAX_REJECTED_RATIO", MAX_REJECTED_RATIO, _ratio, "a number from 0 to 1"),
            max_file_bytes=read(
                "MAX_FILE_BYTES", FILE_BYTES_MAX, _size, "a size from 64MiB on, such as 512MiB or 2GiB"
            ),
            max_upload_bytes=read("MAX_UPLOAD_BYTES", 1 << 30, _size, "a size from 64MiB on, such as 512MiB or 2GiB"),
            max_queued_jobs=read("MAX_QUEUED_JOBS", 1000, _positive, "a whole number from 1 on"),
            max_requests_per_minute=read("MAX_REQUESTS_PER_MINUTE", None, _limit, "a whole number from 1 on"),
            keep_versions=read("KEEP_VERSIONS", 5, _positive, "a whole number from 1 on"),
            job_time_limit_s=read("JOB_TIME_LIMIT", 3600, _seconds, "a time from 1s on, such as 90s, 30min or 2h"),
            etl_schedule=read("ETL_SCHEDULE", None, _schedule, "five fields as cron has them, such as 0 3 * * 1-5"),
        )

    def libpq_environ(self) -> dict[str, str]:
        """The environment of Postgres' own programs: the newest ones here, and the database that they ask.

        On a command line everybody could see the password.
        """
        names = parse_dsn(self.database_url)
        database = {f"PG{name.replace('dbname', 'database').upper()}": value for name, value in names.items()}
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
        return os.environ | database | {"PATH": os.pathsep.join([*map(str, programs[-1:]), os.environ["PATH"]])}

    @property
    def spill_dir(self) -> Path:
        """Where the engine may write what does not fit into its memory."""
        return self.state_dir / "spill"

    @property
    def uploads_dir(self) -> Path:
        """Where uploaded datasets are; worker/uploads.py writes there."""
        return self.state_dir / "datasets"

    @property
    def restore_dir(self) -> Path:
        """What scripts/restore.sh works in, while it is at work: worker/restores.py."""
        return self.state_dir / "restore"

    def is_mounted(self, dataset: str) -> bool:
        """Whether the name is DATA_DIR's: `default` by one of the files in it, any other by whatever has that name."""
        if dataset == DEFAULT_DATASET:
            return _has_files(self.data_dir)
        return os.path.lexists(self.data_dir / dataset)

    def directory(self, dataset: str) -> Path | None:
        """Return the directory of a dataset, or None for a name that is not one or has none."""
        if not DATASET_NAME.fullmatch(dataset):
            return None
        uploaded = self.uploads_dir / dataset / UPLOADED_FILES
        if not self.is_mounted(dataset) and uploaded.is_dir():
            return uploaded
        if dataset == DEFAULT_DATASET:
            # DATA_DIR may be a link, which it is the operator's to set; what is in it may not.
            return self.data_dir.resolve() if self.data_dir.is_dir() else None
        directory = self.data_dir / dataset
        return directory if directory.is_dir() and not directory.is_symlink() else None

    def datasets(self) -> set[str]:
        """Return the names of the datasets that have a file, mounted or uploaded."""
        names = {DEFAULT_DATASET}
        for place in (self.data_dir, self.uploads_dir):
            with suppress(OSError):
                names.update(entry.name for entry in os.scandir(place))
        return {name for name in names if (directory := self.directory(name)) and _has_files(directory)}


def _has_files(directory: Path) -> bool:
    return any(os.path.lexists(directory / name) for table in TABLES for name in table.file_names)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _limit(text: str) -> int | None:
    return _positive(text)


def _threads(text: str) -> int:
    number = _positive(text)
    if number > _THREADS_MAX:
        raise ValueError(text)
    return number


def _ratio(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError(text)
    return number


def _size(text: str) -> int:
    match = re.fullmatch(r"([0-9]+)\s*([KMG]iB)?", text)
    size = int(match[1]) * _UNITS[match[2] or ""] if match else 0
    if size < _SIZE_MIN:
        raise ValueError(text)
    return size


def _seconds(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,6})\s*(s|min|h)", text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if seconds < 1:
        raise ValueError(text)
    return seconds


def _schedule(text: str) -> str | None:
    try:
        if len(text.split()) != _CRON_FIELDS:  # not with seconds
            raise ValueError(text)
        next(CronSim(text, datetime.now(UTC)))
    except (CronSimError, StopIteration) as error:
        raise ValueError(text) from error
    return text


def _hosts(text: str) -> tuple[str, ...]:
    hosts = tuple(host.strip().casefold() for host in text.split(",") if host.strip(" ."))
    if not hosts:
        raise ValueError(text)
    return hosts


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        scheme, separator, rest = text.partition("://")
        if scheme not in schemes or not separator or not rest:
            raise ValueError(text)
        return text

    return parse


def _bind(text: str) -> str:
    match = re.fullmatch(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})", text)
    if not match or not 1 <= int(match[1]) <= _PORT_MAX:
        raise ValueError(text)
    return text


def _token(text: str) -> str | None:
    if not re.fullmatch(r"[\x21-\x7e]{16,}", text):
        raise ValueError(text)
    return text


def _spark(text: str) -> str | None:
    match = re.fullmatch(r"sc://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})(?:/(?:;\S*)?)?", text)
    if not match or not 1 <= int(match[1]) <= _PORT_MAX:
        raise ValueError(text)
    return text
