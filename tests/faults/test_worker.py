"""The worker is killed."""

import random
import time

import pytest

from tests.container.service import docker
from tests.faults.case import Case
from tests.faults.inputs import slow_to_load

pytestmark = pytest.mark.faults


def test_the_worker_child_is_killed_during_copy(case: Case) -> None:
    inputs = case.inputs(slow_to_load)
    service = case.start(inputs)
    inputs.use("new")
    for _ in range(case.times(short=1, long=10)):
        job = service.post_until_accepted()
        service.wait_for_stage(job, "load")

        docker("exec", service.parts["worker"].name, "kill", "-KILL", service.worker_child())

        case.recover()
        assert (service.job(job)["state"], service.job(job)["attempt"]) == ("succeeded", 2)
    case.check()


def test_the_worker_is_killed_at_random_moments_while_jobs_flow(case: Case) -> None:
    service = case.start()
    for number in range(case.times(short=5, long=50)):
        with service.flow():
            # supervisord gives up a program that dies within 10 s of its start four times in a row.
            time.sleep(random.uniform(1, 4) if number % 3 else random.uniform(11, 14))
            service.signal("KILL", "worker")
        case.recover()
    case.check()
