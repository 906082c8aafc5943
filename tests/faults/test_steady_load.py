"""Jobs and readers for an hour: nothing grows that has no reason to."""

import itertools
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.case import IS_LONG, Case
from tests.faults.clients import Answer, Ask, Client, a_job, accepted, asking_steadily
from tests.faults.figures import p99
from tests.faults.inputs import copy_sample
from tests.faults.programs import PROGRAMS, Sample, quarters, sample
from tests.faults.service import Service
from tests.faults.watch import every
from tests.servers import wait_until

pytestmark = pytest.mark.faults

SECONDS = int(os.environ.get("FAULTS_STEADY_S") or (3600 if IS_LONG else 60))
# Before that, much is still being used for the first time.
SETTLED_S = 900
JOBS_PER_SECOND = 2
SAMPLE_S = 10
KEEP_VERSIONS = 5
DATASETS = ("default", "second", "third")
KINDS: tuple[dict[str, Any], ...] = ({"force": True}, {}, {"mode": "dry_run"}, {"force": True})
CANCELLED_EVERY = 16


@pytest.mark.timeout(SECONDS + 600)
def test_memory_stays_as_it_is_under_steady_load(case: Case) -> None:
    inputs = case.inputs()
    for dataset in DATASETS[1:]:
        inputs.add_dataset(dataset, copy_sample)
    service = case.start(inputs)
    url, samples, refused = service.parts["api"].url, list[Sample](), list[Answer]()
    poster = Client(url)
    posting = _posting(service, poster, refused)
    for _ in DATASETS:
        next(posting)

    with (
        asking_steadily(url, _reads(service), per_second=5) as reads,
        every(1 / JOBS_PER_SECOND, lambda: next(posting)),
        every(SAMPLE_S, lambda: samples.append(sample(service))),
    ):
        time.sleep(SECONDS)
    poster.close()

    case.recover()
    assert not refused
    assert {answer.status for answer in reads} == {200}
    _assert_old_versions_go(service)
    case.measured("p99 of a read", 1000 * p99([answer.seconds for answer in reads]), "ms")
    _measure(case, service, samples)
    case.check()


def _posting(service: Service, client: Client, refused: list[Answer]) -> Iterator[None]:
    """Post a job with each step: every dataset, every kind, and now and then one that is cancelled at once."""
    for number in itertools.count():
        if number % 6 == 0:
            service.inputs.use(service.inputs.variants[number // 6 % 2])
        answer = client.ask(a_job(dataset=DATASETS[number % 3], **KINDS[number // 3 % 4]))
        job_ids = accepted(service, [answer])
        if not job_ids:
            refused.append(answer)
        elif number % CANCELLED_EVERY == CANCELLED_EVERY - 1:
            client.ask(Ask("POST", f"/api/v1/jobs/{job_ids[0]}/cancel", {}))
        yield


def _reads(service: Service) -> list[Ask]:
    of_a_job = f"/api/v1/jobs/{service.accepted[0]}"
    lists = ["/api/v1/jobs", "/api/v1/datasets", "/api/v1/features?limit=5", "/api/v1/features/3", "/api/v1/summary"]
    return [Ask("GET", path) for path in [of_a_job, *lists, "/api/v1/datasets/default/publication"]]


def _assert_old_versions_go(service: Service) -> None:
    """The newest few stay, as many dry runs, and the published one."""
    kept = "SELECT count(*) AS n FROM dataset_versions GROUP BY dataset, outcome = 'dry_run'"
    wait_until(
        lambda: all(row["n"] <= KEEP_VERSIONS + 1 for row in service.rows(kept)), "old versions are gone", seconds=120
    )


def _measure(case: Case, service: Service, samples: list[Sample]) -> None:
    for name in PROGRAMS:
        second, last = quarters(samples, lambda of, name=name: of.memory_mib[name])  # type: ignore[misc]
        case.measured(f"memory of {name}, last quarter", last, "MiB")
        growth = case.measured(f"memory of {name}, growth", last - second, "MiB", goal=max(20.0, round(second / 10, 1)))
        if SECONDS >= SETTLED_S and not growth.is_met:
            case.breach(f"the memory of {name} grew by {growth.value} MiB, from {second:.0f} MiB")
        case.measured(f"open files of {name}, most", max(of.files_max[name] for of in samples), "files")
        second, last = quarters(samples, lambda of, name=name: of.files_max[name])  # type: ignore[misc]
        case.measured(f"open files of {name}, growth", last - second, "files", goal=10)
    case.measured("connections to Postgres, most", max(of.connections for of in samples), "connections")
    [rows] = service.rows("SELECT count(*) AS n, extract(epoch FROM max(created_at) - min(created_at)) AS s FROM jobs")
    case.measured("jobs in the ledger", rows["n"], "jobs")
    case.measured("jobs in a second", rows["n"] / rows["s"], "jobs")
    second, last = quarters(samples, lambda of: of.volume_mib)
    case.measured("the volume, second quarter", second, "MiB")
    case.measured("the volume, last quarter", last, "MiB")
