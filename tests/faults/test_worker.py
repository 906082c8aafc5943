"""The worker is killed or frozen."""

import re
import time

import pytest

from tests.faults.case import Case
from tests.faults.inputs import slow_to_load
from tests.servers import wait_until

pytestmark = pytest.mark.faults


def test_the_worker_child_is_killed_during_copy(case: Case) -> None:
    inputs = case.inputs(slow_to_load)
    service = case.start(inputs)
    inputs.use("new")
    for _ in range(case.times(short=1, long=3)):
        job = service.post_until_accepted()
        service.wait_for_stage(job, "publish")

        service.kill("worker", service.worker_child())

        case.recover()
        assert (service.job(job)["state"], service.job(job)["attempt"]) == ("succeeded", 2)
    case.check()


def test_the_worker_is_killed_at_random_moments_while_jobs_flow(case: Case) -> None:
    service = case.start()
    for number in range(case.times(short=5, long=50)):
        with service.flow():
            case.wait_for_a_moment(number)
            service.signal("KILL", "worker")
        case.recover()
    case.check()


def test_the_only_worker_is_frozen_beyond_its_lease(case: Case) -> None:
    inputs = case.inputs(slow_to_load)
    service = case.start(inputs)
    inputs.use("new")
    job = service.post_until_accepted()
    service.wait_for_stage(job, "publish")

    service.signal("STOP", "worker")
    time.sleep(case.times(short=30, long=60))
    assert service.job(job)["state"] == "queued", "the sweeper takes back what nobody holds"
    service.signal("CONT", "worker")

    case.recover()
    assert (service.job(job)["state"], service.job(job)["attempt"]) == ("succeeded", 2)
    case.check()


def test_a_frozen_worker_is_fenced_off_after_another_ran_its_job(case: Case) -> None:
    inputs = case.inputs(slow_to_load)
    service = case.start_roles(inputs, worker=[], another_worker=[])
    inputs.use("new")
    job = service.post_until_accepted()
    service.wait_for_stage(job, "publish")

    frozen = service.worker_of(job)
    frozen_at = time.monotonic()
    service.signal("STOP", "worker", part=frozen)
    by_another = service.finished(job)
    assert (by_another["state"], by_another["attempt"]) == ("succeeded", 2)
    time.sleep(max(0, frozen_at + case.times(short=30, long=60) - time.monotonic()))
    service.signal("CONT", "worker", part=frozen)

    case.recover()
    # It sees that its lease is gone, or that the sweeper has ended its sessions.
    gives_up = re.compile("attempt 1 (has lost its lease|came to nothing)")
    wait_until(lambda: gives_up.search(service.parts[frozen].logs()), "the old attempt gives up")
    assert service.job(job) == by_another
    case.check()
