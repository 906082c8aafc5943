"""Explanations: which input lines are behind a user's published numbers.

They are found in a process of its own (etl/explain.py): the files may be large, and who asks is an API.
"""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from etl.contract import LineCode
from worker import jobs
from worker.settings import Settings

log = logging.getLogger(__name__)

PATIENCE_S = 60

_ROOT = Path(__file__).parents[1]


class InputChanged(Exception):  # noqa: N818
    """The files are not any more those that the version was made from; the message names one."""


class TooSlow(Exception):  # noqa: N818
    """The files could not be read in PATIENCE_S."""


def question(connection: sa.Connection, settings: Settings, job_id: UUID, row: dict[str, Any]) -> dict[str, Any]:
    """Return what answer() needs to explain a user's row of the version that the job made. Raises InputChanged."""
    job = jobs.get(connection, job_id)
    directory = settings.directory(job.dataset)
    if not directory:
        raise InputChanged(f"the dataset {job.dataset} has no directory any more")
    rejected = connection.execute(
        sa.text(
            "SELECT file, code, array_agg(line) AS lines FROM rejections"
            " WHERE job_id = :job_id AND code = ANY(:codes) GROUP BY file, code"
        ),
        {"job_id": job_id, "codes": list(LineCode)},
    )
    return {
        "directory": str(directory),
        "file_bytes_max": settings.max_file_bytes,
        "sha256s": {read["file"]: read["sha256"] for read in job.inputs},
        "rejected_lines": [list(row) for row in rejected],
        "row": row,
    }


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """Return, for each column, the lines behind its value. Raises InputChanged, TooSlow."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "etl.explain"],
            input=json.dumps(asked, default=str),
            capture_output=True,
            text=True,
            cwd=_ROOT,
            timeout=PATIENCE_S,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise TooSlow from error
    except subprocess.CalledProcessError as error:
        log.error("etl.explain ended with %d: %s", error.returncode, error.stderr)  # noqa: TRY400 - the child's traceback
        raise
    explanation: dict[str, Any] = json.loads(done.stdout)
    if "error" in explanation:
        raise InputChanged(explanation["error"]["detail"])
    return explanation
