"""A job is cancelled wherever it is, or takes too long: its attempt ends soon, and publishes nothing."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from tests.bench.generate import generate
from tests.faults.case import Case
from tests.faults.service import STATE, Service

pytestmark = pytest.mark.faults

ENDED_WITHIN_S = 2.0
STAGES = ("extract", "validate", "derive", "load", "publish")


def test_a_job_is_cancelled_that_waits(case: Case) -> None:
    service = case.start()
    for _ in range(case.times(short=2, long=10)):
        service.signal("STOP", "worker")
        job = service.post_until_accepted()
        _cancel(service, job)
        service.signal("CONT", "worker")

        case.recover()
        assert (service.job(job)["state"], service.job(job)["attempt"]) == ("cancelled", 0)
    case.check()


@pytest.mark.timeout(3600)
def test_a_job_is_cancelled_in_each_stage(case: Case) -> None:
    inputs = case.inputs()
    inputs.add_dataset("large", _with_long_stages)
    service = case.start(inputs)
    published = service.finished(service.post_until_accepted(dataset="large"), seconds=240)
    assert published["outcome"] == "published"
    for _ in range(case.times(short=1, long=2)):
        for stage in STAGES:
            # Publishing is a matter of milliseconds, unless it has to wait for somebody.
            with _locked_pointer(service, "large") if stage == "publish" else nullcontext():
                job = service.post_until_accepted(dataset="large")
                service.wait_for_stage(job, stage, seconds=300)

                _cancel(service, job)

                seconds = _seconds_until_ended(service, job)
            case.measured(f"end of the attempt, in {stage}", seconds, "s", goal=ENDED_WITHIN_S)
            assert service.job(job)["state"] == "cancelled"
            _assert_nothing_of(service, job)
            case.recover()
    assert service.parts["api"].get("/api/v1/datasets/large/publication")["job_id"] == published["id"]
    case.check()


def test_a_job_takes_longer_than_it_may(case: Case) -> None:
    inputs = case.inputs()
    inputs.add_dataset("large", _with_long_stages)
    service = case.start(inputs, "--env", "JOB_TIME_LIMIT=5s")
    for _ in range(case.times(short=1, long=2)):
        job = service.post_until_accepted(dataset="large")

        ended = service.finished(job)

        case.measured("end of the attempt, overdue", _seconds_until_ended(service, job), "s", goal=ENDED_WITHIN_S)
        assert (ended["state"], ended["error"]["code"], ended["attempt"]) == ("failed", "time_limit", 1), ended
        _assert_nothing_of(service, job)
        case.recover()
    case.check()


def _with_long_stages(directory: Path) -> None:
    generate(directory, experiments=4_000_000, users=1_000_000, compounds=5_000, shuffled=True, seed=1)


def _cancel(service: Service, job_id: str) -> None:
    status, answer = service.parts["api"].request("POST", f"/api/v1/jobs/{job_id}/cancel", {})
    assert (status, answer["state"]) == (202, "cancelled"), answer


def _seconds_until_ended(service: Service, job_id: str) -> float:
    """Wait until the attempt has no transaction and no temporary file any more."""
    started = time.monotonic()
    of_it = f"SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'job {job_id} %'"  # noqa: S608
    nothing = f'-z $(psql -Atc "$0") && -z $(find {STATE}/spill -type f)'
    service.parts["worker"].execute(f"timeout 60 bash -c 'until [[ {nothing} ]]; do sleep 0.05; done' \"{of_it}\"")
    return time.monotonic() - started


def _assert_nothing_of(service: Service, job_id: str) -> None:
    """What it has loaded goes with the next housekeeping; I5 looks for that in the end."""
    versions = f"SELECT count(*) FROM dataset_versions WHERE job_id = '{job_id}'"  # noqa: S608
    assert service.psql(versions).strip() == "0"
    assert service.job(job_id)["outcome"] is None


@contextmanager
def _locked_pointer(service: Service, dataset: str) -> Iterator[None]:
    """Hold what a publication of the dataset has to lock."""
    psql = ["docker", "exec", "--interactive", service.parts["postgres"].name, "psql", "--username", "postgres", "-qAt"]
    with subprocess.Popen(psql, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"BEGIN; SELECT name FROM datasets WHERE name = '{dataset}' FOR NO KEY UPDATE;\n")  # noqa: S608
        process.stdin.flush()
        assert process.stdout.readline().strip() == dataset
        yield
        process.stdin.write("ROLLBACK;\n")
