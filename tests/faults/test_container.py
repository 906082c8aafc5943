"""The whole container is killed or stopped, and started again."""

import random
import time

import pytest

from tests.container.service import docker
from tests.faults.case import Case
from tests.faults.inputs import slow_to_load

pytestmark = pytest.mark.faults


def test_the_container_is_killed_at_random_moments_while_jobs_flow(case: Case) -> None:
    container = case.start().parts["api"]
    for _ in range(case.times(short=3, long=80)):
        with case.service.flow():
            time.sleep(random.uniform(0.5, 5))
            case.api_goes_down()
            docker("kill", "--signal", "KILL", container.name)
        docker("start", container.name)
        case.recover()
    case.check()


def test_the_container_is_killed_during_its_first_boot(case: Case) -> None:
    for _ in range(case.times(short=1, long=20)):
        container = case.start_unprepared().parts["api"]
        time.sleep(random.uniform(0, 3))

        docker("kill", "--signal", "KILL", container.name)

        docker("start", container.name)
        case.recover()
        case.check()
        docker("stop", container.name)


def test_the_container_is_stopped_in_the_middle_of_a_job_and_soon_after_each_start(case: Case) -> None:
    inputs = case.inputs(slow_to_load)
    service = case.start(inputs)
    container = service.parts["api"]
    inputs.use("new")
    job = service.post_until_accepted()
    service.wait_for_stage(job, "publish")

    seconds_after_start = [0.0, 1.5, 4.0] if case.times(short=1, long=0) else [tenth / 2 for tenth in range(11)]
    for seconds in [None, *seconds_after_start]:
        if seconds is not None:
            docker("start", container.name)
            time.sleep(seconds)
        case.api_goes_down()
        docker("stop", "--time", "10", container.name)  # who is not done by then is killed: status 137
        if (status := container.inspect("{{.State.ExitCode}}")) != "0":
            case.breach(f"stop: {seconds or 0} s after the start it ended with {status}")

    docker("start", container.name)
    case.recover()
    assert service.job(job)["state"] == "succeeded"
    case.check()
