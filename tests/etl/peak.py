"""Runs the pipeline on folders in a process of its own, and prints how each ended and the most memory that it took."""

import json
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import psycopg2

from etl import engines, pipeline, publish
from etl.errors import BadInput
from tests.etl.conftest import dataset_in, no_stage


def run(folder: Path, job_id: str, database_url: str) -> str:
    """Return the code of the job, or `succeeded`; nothing stays."""
    connection = psycopg2.connect(database_url)
    try:
        with (
            TemporaryDirectory() as spill,
            engines.connect("duckdb", memory_bytes=1 << 29, threads=2, spill_directory=Path(spill)) as engine,
        ):
            pipeline.run(
                job_id=UUID(job_id),
                dataset="default",
                files=dataset_in(folder),
                engine=engine,
                transaction=lambda: nullcontext(connection),
                publication=publish.publish,
                finish=lambda _connection, _result: None,
                max_rejected_ratio=1,
                on_stage=no_stage,
            )
    except BadInput as error:
        return error.code
    finally:
        connection.close()
    return "succeeded"


def peak_bytes() -> int:
    """The most memory that this program took; ru_maxrss would know of the process that started it, too."""
    [kib] = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(kib) << 10


if __name__ == "__main__":
    database_url, job_id, *folders = sys.argv[1:]
    ends = [run(Path(folder), job_id, database_url) for folder in folders]
    print(json.dumps({"ends": ends, "peak_bytes": peak_bytes()}))  # noqa: T201
