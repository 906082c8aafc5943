"""The worker's clock is wrong. Leases and ages are the database's business."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.container.service import Container
from tests.faults.case import Case
from tests.faults.inputs import Inputs, slow_to_load

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("offset", ["+1h", "-1h"])
def test_the_clock_of_the_worker_is_an_hour_off(offset: str, case: Case) -> None:
    inputs = case.inputs(slow_to_load)
    service = case.start_roles(inputs, worker=_with_a_clock_that_is_off(offset, inputs))
    assert abs(_clock_of(service.parts["worker"]) - datetime.now(UTC)).total_seconds() > 3500
    inputs.use("new")

    jobs = [service.post_until_accepted() for _ in range(case.times(short=2, long=6))]

    case.recover()
    for job in map(service.job, jobs):
        assert (job["state"], job["attempt"]) == ("succeeded", 1), job
    case.check()


def _with_a_clock_that_is_off(offset: str, inputs: Inputs) -> list[str]:
    """A script in celery's place, because the other programs of start.sh do not stand libfaketime."""
    found = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1")]
    assert found, "libfaketime is not installed; scripts/faults.sh installs it"
    celery = inputs.directory / "celery"
    celery.write_text(
        "#!/bin/sh\n"
        # Only what time it is, not how it passes.
        f"export LD_PRELOAD=/libfaketime.so.1 FAKETIME={offset} FAKETIME_DONT_FAKE_MONOTONIC=1\n"
        'exec /opt/venv/bin/python3 -m celery "$@"\n'
    )
    celery.chmod(0o755)
    return ["--volume", f"{found[0]}:/libfaketime.so.1:ro", "--volume", f"{celery}:/opt/venv/bin/celery:ro"]


def _clock_of(worker: Container) -> datetime:
    lines = map(json.loads, worker.logs().splitlines())
    [*_, last] = [line["time"] for line in lines if line["program"] == "worker" and "logger" in line]
    return datetime.fromisoformat(last)
