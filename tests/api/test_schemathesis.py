"""The served API keeps to its description: schemathesis sends what is described and what is not, with every check.

For longer: `FUZZ_SEED=7 FUZZ_EXAMPLES=2000 scripts/test.sh tests/api/test_schemathesis.py`.
"""

import os
import shutil
import subprocess
import sys
from http import HTTPStatus
from urllib.error import HTTPError
from urllib.request import urlopen
from uuid import uuid4

import pytest

from tests.conftest import ROOT, SAMPLE, InProcess, Programs
from tests.servers import wait_until

SEED = os.environ.get("FUZZ_SEED", "1")
EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "40")


@pytest.fixture
def published(in_process: InProcess) -> None:
    """Two datasets, with versions to compare, rejections, a version that is held, and a job that failed."""
    data_dir = in_process.settings.data_dir
    shutil.copytree(SAMPLE, data_dir / "second")
    shutil.copytree(SAMPLE, data_dir / "broken")
    (data_dir / "broken" / "users.csv").unlink()
    with (data_dir / "user_experiments.csv").open("a") as experiments:
        experiments.write("\nx,1,1,1\n")
    in_process.run(force=True)
    in_process.run()
    in_process.run(dataset="second")
    in_process.run(dataset="broken")
    in_process.lose_users(left=3)
    in_process.run(max_rejected_ratio=1.0)


def _is_ready(url: str) -> bool:
    try:
        return bool(urlopen(f"{url}/readyz", timeout=10).status == HTTPStatus.OK)
    except HTTPError:
        return False


def _try(url: str, *options: str) -> None:
    wait_until(lambda: _is_ready(url), "a job could run")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "tests/api/schemathesis.toml", "--no-color"]
    done = subprocess.run(
        [*command, "run", f"{url}/openapi.json", "--seed", SEED, "--checks", "all", *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("published")
@pytest.mark.timeout(0 if "FUZZ_EXAMPLES" in os.environ else 300)
def test_every_answer_is_as_described(programs: Programs) -> None:
    with programs.worker(), programs.api(MAX_QUEUED_JOBS="100000") as served:
        _try(served.url, "--max-examples", EXAMPLES)


@pytest.mark.usefixtures("published")
def test_every_answer_is_as_described_where_a_token_is_set(programs: Programs) -> None:
    token = uuid4().hex
    with programs.worker(), programs.api(API_TOKEN=token, MAX_QUEUED_JOBS="100000") as served:
        _try(served.url, "--header", f"Authorization: Bearer {token}", "--max-examples", "10")
