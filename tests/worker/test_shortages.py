"""Disk and memory that run out: the job is tried again, and then says which of them it was."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import psycopg2.errors
import pyarrow as pa
import pytest
import sqlalchemy as sa

from etl import pipeline, shortages
from etl.errors import Transient
from tests.conftest import InProcess
from worker import disk, memory
from worker.tasks import Runner


def _code(error: Exception) -> str | None:
    with pytest.raises(Exception) as raised, shortages.named():  # noqa: PT011 - the code tells which
        raise error
    if raised.value is error:
        return None
    assert raised.value.__cause__ is error
    assert isinstance(raised.value, Transient)
    return raised.value.code


def test_a_shortage_is_named_whoever_tells_of_it() -> None:
    assert _code(OSError(28, "No space left on device", "/var/lib/x")) == "disk_full"
    assert _code(duckdb.IOException("could not write: No space left on device")) == "disk_full"
    assert _code(psycopg2.errors.DiskFull("could not extend file")) == "disk_full"
    assert _code(sa.exc.OperationalError("COPY", {}, psycopg2.errors.DiskFull("no room"))) == "disk_full"
    assert _code(MemoryError()) == "out_of_memory"
    assert _code(pa.ArrowMemoryError("malloc failed")) == "out_of_memory"
    assert _code(psycopg2.errors.OutOfMemory("out of memory")) == "out_of_memory"


def test_what_is_no_shortage_stays_what_it_was() -> None:
    for error in (OSError(5, "Input/output error"), ValueError("x"), psycopg2.OperationalError("the server is gone")):
        assert _code(error) is None


@pytest.mark.parametrize(
    ("setting", "code"), [("max_temp_directory_size = '1MB'", "disk_full"), ("temp_directory = ''", "out_of_memory")]
)
def test_what_the_engine_itself_says_is_understood(tmp_path: Path, setting: str, code: str) -> None:
    with duckdb.connect(config={"memory_limit": "32MB", "threads": 1, "temp_directory": str(tmp_path)}) as connection:
        connection.execute(f"SET {setting}")
        connection.execute("CREATE TABLE t AS SELECT i, md5(i::varchar) AS m FROM range(100000) AS r (i)")
        with pytest.raises(Transient) as raised, shortages.named():
            connection.execute("CREATE TABLE s AS SELECT a.m AS a, b.m AS b FROM t AS a, t AS b ORDER BY a || b")

    assert raised.value.code == code


def test_a_job_whose_memory_does_not_suffice_fails_after_three_attempts(in_process: InProcess) -> None:
    published = in_process.run()
    poor = replace(in_process.settings, etl_memory_limit=1 << 20)
    runner = Runner(poor, in_process.engine, in_process.runner.app, worker="poor")
    job = in_process.submit(force=True)

    for attempt in (1, 2, 3):
        runner.run_job(str(job.id))
        assert in_process.job(job).attempt == attempt
        in_process.execute("UPDATE jobs SET due_at = now()")

    done = in_process.job(job)
    assert (done.state, done.error_code) == ("failed", "out_of_memory")
    assert in_process.published() == published.id


def test_the_process_that_runs_jobs_is_the_first_that_the_kernel_kills() -> None:
    before = Path("/proc/self/oom_score_adj").read_text()
    try:
        memory.be_killed_first()
        assert Path("/proc/self/oom_score_adj").read_text().strip() == "800"
    finally:
        Path("/proc/self/oom_score_adj").write_text(before)


def test_where_the_kernel_refuses_that_the_process_lives_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_SCORE", tmp_path)  # a directory, which cannot be written to either

    memory.be_killed_first()


def test_only_kills_since_the_last_look_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = tmp_path / "memory.events"
    monkeypatch.setattr(memory, "_EVENTS", (str(events), str(tmp_path / "absent")))
    events.write_text("low 0\noom 5\noom_kill 3\n")
    kills = memory.Kills()
    assert not kills.have_risen()

    events.write_text("low 0\noom 7\noom_kill 4\n")

    assert kills.have_risen()
    assert not kills.have_risen()


def test_a_kill_of_long_ago_is_not_why_a_process_dies_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = tmp_path / "memory.events"
    monkeypatch.setattr(memory, "_EVENTS", (str(events),))
    events.write_text("oom_kill 0\n")
    kills = memory.Kills()
    events.write_text("oom_kill 1\n")

    kills.look()
    assert kills.have_risen()

    events.write_text("oom_kill 2\n")
    kills.look()
    kills.look()
    assert not kills.have_risen()


@pytest.mark.parametrize("stage", ["load", "load_rejections"])
def test_a_job_leaves_the_embedded_database_the_room_that_it_needs(
    stage: str, in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the disk had filled up just when the job began to load."""
    published = in_process.run()
    settings = replace(in_process.settings, database_is_embedded=True)
    runner = Runner(settings, in_process.engine, in_process.runner.app, worker="in-process")
    loading: Any = getattr(pipeline, stage)

    def load_on_a_full_disk(*arguments: Any) -> None:
        monkeypatch.setattr(disk, "SHARE", 1)
        monkeypatch.setattr(disk, "LEFT_TO_DATABASE_BYTES_MAX", 1 << 60)
        loading(*arguments)

    monkeypatch.setattr(pipeline, stage, load_on_a_full_disk)
    job = in_process.submit(force=True)
    for _ in range(3):
        in_process.execute("UPDATE jobs SET due_at = now()")
        runner.run_job(str(job.id))

    assert (in_process.job(job).state, in_process.job(job).error_code) == ("failed", "disk_full")
    assert "nearly full" in str(in_process.job(job).error_detail)
    assert in_process.published() == published.id


def test_a_database_elsewhere_has_a_disk_of_its_own(in_process: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "SHARE", 1)
    monkeypatch.setattr(disk, "LEFT_TO_DATABASE_BYTES_MAX", 1 << 60)

    assert in_process.run().state == "succeeded"
