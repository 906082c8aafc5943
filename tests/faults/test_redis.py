"""Redis is killed, frozen, or full. A POST is accepted all the same: Redis only rings."""

import time

import pytest

from tests.container.service import docker
from tests.faults.case import Case
from tests.faults.inputs import copy_sample, slow_to_load

pytestmark = pytest.mark.faults

QUEUED = 100


def test_redis_is_killed_with_a_hundred_jobs_queued(case: Case) -> None:
    inputs = case.inputs(slow_to_load)
    inputs.add_dataset("small", copy_sample)
    service = case.start(inputs)
    service.post_until_accepted()
    assert all(service.post(dataset="small") for _ in range(QUEUED))

    service.signal("KILL", "redis")

    case.recover()
    assert not service.refusals
    case.check()


def test_a_redis_that_keeps_a_file_is_killed_with_a_hundred_jobs_queued(case: Case) -> None:
    inputs = case.inputs(slow_to_load)
    inputs.add_dataset("small", copy_sample)
    service = case.start_with_outside_redis(inputs)
    service.post_until_accepted()
    assert all(service.post(dataset="small") for _ in range(QUEUED))

    docker("kill", "--signal", "KILL", service.parts["redis"].name)
    time.sleep(2)
    docker("start", service.parts["redis"].name)

    case.recover()
    assert not service.refusals
    case.check()


def test_redis_is_frozen_while_jobs_are_posted(case: Case) -> None:
    service = case.start()
    with service.flow():
        service.signal("STOP", "redis")
        time.sleep(case.times(short=20, long=60))
        service.signal("CONT", "redis")
    case.recover()
    assert not service.refusals
    case.check()


def test_redis_is_out_of_memory_while_jobs_are_posted(case: Case) -> None:
    service = case.start()
    with service.flow():
        assert service.redis_cli("CONFIG", "SET", "maxmemory", "1").strip() == "OK"
        time.sleep(case.times(short=10, long=60))
        assert service.redis_cli("CONFIG", "SET", "maxmemory", "64mb").strip() == "OK"
    case.recover()
    assert not service.refusals
    case.check()
