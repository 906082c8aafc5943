"""The worker's clock is wrong. Leases and ages are the database's business."""

import time
from pathlib import Path

import pytest

from tests.faults.case import Case
from tests.faults.inputs import slow_to_load

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("offset", ["+1h", "-1h"])
def test_the_clock_of_the_worker_is_an_hour_off(offset: str, case: Case) -> None:
    [library, *_] = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None]
    assert library, "libfaketime is not installed; scripts/faults.sh installs it"
    wrong = [
        "--volume",
        f"{library}:/faketime.so:ro",
        "--env",
        "LD_PRELOAD=/faketime.so",
        "--env",
        f"FAKETIME={offset}",
    ]
    # Only what time it is, not how it passes.
    wrong += ["--env", "FAKETIME_DONT_FAKE_MONOTONIC=1"]
    inputs = case.inputs(slow_to_load)

    service = case.start_roles(inputs, worker=wrong)
    assert abs(int(service.parts["worker"].execute("date +%s")) - time.time()) > 3500
    inputs.use("new")
    jobs = [service.post_until_accepted() for _ in range(case.times(short=3, long=30))]

    case.recover()
    for job in map(service.job, jobs):
        assert (job["state"], job["attempt"]) == ("succeeded", 1), job
    case.check()
