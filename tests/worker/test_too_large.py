"""A small file that holds too much fails its job before it fills the machine."""

import gzip

import sqlalchemy as sa

from tests.conftest import InProcess
from tests.etl.conftest import write
from worker import queue
from worker.jobs import Job
from worker.settings import Settings
from worker.tasks import Runner

MAX_FILE_BYTES = 64 << 20
USERS = b"user_id,name,email,signup_date\n1,n,e,2024-01-01\n"
BLANK_LINE = b" " * ((1 << 20) - 1) + b"\n"


def _run(settings: Settings, engine: sa.Engine, content: bytes) -> Job:
    directory = write(settings.data_dir)
    (directory / "users.csv").unlink()
    (directory / "users.csv.gz").write_bytes(gzip.compress(content, 1))
    limited = Settings.from_env(
        {
            "DATA_DIR": str(directory),
            "STATE_DIR": str(settings.state_dir),
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "ETL_MEMORY_LIMIT": str(settings.etl_memory_limit),
            "MAX_FILE_BYTES": str(MAX_FILE_BYTES),
        }
    )
    return InProcess(limited, engine, Runner(limited, engine, queue.celery_app(limited), worker="in-process")).run()


def _of_size(size: int) -> bytes:
    blank, rest = divmod(size - len(USERS), len(BLANK_LINE))
    return USERS + BLANK_LINE * blank + b" " * rest


def test_a_file_of_the_size_that_is_allowed_is_read(settings: Settings, engine: sa.Engine) -> None:
    job = _run(settings, engine, _of_size(MAX_FILE_BYTES))

    assert job.error_code is None
    assert job.state == "succeeded"


def test_a_file_that_is_larger_when_decompressed_is_refused(settings: Settings, engine: sa.Engine) -> None:
    job = _run(settings, engine, _of_size(MAX_FILE_BYTES + 1))

    assert job.error_code == "too_large"
    assert job.error_detail
    assert "users.csv.gz" in job.error_detail
