"""Postgres is killed, a part of it or all, and its sessions are ended."""

import time

import pytest

from tests.faults.case import Case
from tests.faults.inputs import slow_to_load
from tests.faults.session import Unavailable

pytestmark = pytest.mark.faults


def test_the_postmaster_is_killed_during_copy(case: Case) -> None:
    inputs = case.inputs(slow_to_load)
    service = case.start(inputs)
    inputs.use("new")
    for _ in range(case.times(short=1, long=3)):
        job = service.post_until_accepted()
        service.wait_for_stage(job, "publish")

        service.signal("KILL", "postgres")

        case.recover()
        assert (service.job(job)["state"], service.job(job)["attempt"]) == ("succeeded", 2)
    case.check()


def test_the_backend_of_a_copy_is_killed(case: Case) -> None:
    inputs = case.inputs(slow_to_load)
    service = case.start(inputs)
    inputs.use("new")
    for _ in range(case.times(short=1, long=3)):
        job = service.post_until_accepted()
        service.wait_for_stage(job, "publish")

        service.kill("postgres", service.backend_of(job))

        case.recover()
        assert (service.job(job)["state"], service.job(job)["attempt"]) == ("succeeded", 2)
    case.check()


def test_all_sessions_are_ended_again_and_again_while_jobs_flow(case: Case) -> None:
    service = case.start()
    with service.flow():
        end = time.monotonic() + case.times(short=15, long=60)
        while time.monotonic() < end:
            try:
                service.terminate_backends()
            except Unavailable:
                case.breach("I4 Postgres did not answer its superuser")
            time.sleep(0.1)
    case.recover()
    case.check()
