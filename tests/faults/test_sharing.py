"""Several workers share the jobs: those of one dataset come one after the other, whoever runs them."""

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise

import pytest

from tests.container.service import docker
from tests.faults.case import Case
from tests.faults.clients import a_job, accepted, all_at_once
from tests.faults.inputs import copy_sample
from tests.faults.service import Service, log_lines
from tests.faults.watch import Breach

pytestmark = pytest.mark.faults

WORKERS = ("worker", "second_worker", "third_worker", "fourth_worker")
_LOG_TIME_S = 0.001  # the log's times are cut off there


@pytest.mark.parametrize("number", [2, 20])
def test_jobs_of_one_dataset_run_one_after_the_other(number: int, case: Case) -> None:
    inputs = case.inputs()
    inputs.add_dataset("other", copy_sample)
    workers = WORKERS[:3]
    service = case.start_roles(inputs, **{name: [] for name in workers})
    for _ in range(case.times(short=2, long=3)):
        asks = [a_job(dataset=dataset, force=True) for dataset in ("default", "other") for _ in range(number)]
        answers = all_at_once(service.parts["api"].url, asks)
        assert {answer.status for answer in answers} == {202}
        accepted(service, answers)
        case.recover()
    assert {row["state"] for row in service.rows("SELECT state FROM jobs")} == {"succeeded"}
    case.result.broken += _interleaved(service, workers)
    case.check()


def test_four_workers_share_jobs_while_one_at_a_time_is_killed(case: Case) -> None:
    inputs = case.inputs()
    datasets = ["default", *(f"dataset{number}" for number in range(2, 9))]
    for dataset in datasets[1:]:
        inputs.add_dataset(dataset, copy_sample)
    service = case.start_roles(inputs, **{name: [] for name in WORKERS})
    kills = case.times(short=2, long=10)
    for number in range(kills):
        inputs.use(inputs.variants[number % 2])
        asks = [a_job(dataset=datasets[job % 8], force=True) for job in range(200 // kills)]
        answers = all_at_once(service.parts["api"].url, asks)
        assert {answer.status for answer in answers} == {202}
        accepted(service, answers)
        time.sleep(random.uniform(0, 2))

        killed = service.parts[random.choice(WORKERS)]
        docker("kill", "--signal", "KILL", killed.name)
        time.sleep(1)
        docker("start", killed.name)

        case.recover()
    states = service.rows("SELECT id, state, attempt, error_code FROM jobs")
    assert [row for row in states if row["state"] != "succeeded"] == []
    # None twice; who is killed after the commit has no time to log it.
    ends = Counter(line["job_id"] for line in _logged(service, WORKERS, "succeeded: "))
    assert set(ends.values()) == {1}
    assert len(ends) >= len(states) - kills
    case.result.broken += _interleaved(service, WORKERS)
    case.check()


def _interleaved(service: Service, workers: Sequence[str]) -> Iterator[Breach]:
    """Tell of two jobs of one dataset of which the later began before the earlier had ended: the ledger, the log."""
    ended = service.rows(_INTERVALS)
    for before, after in pairwise(ended):
        if before["dataset"] == after["dataset"] and after["began"] < before["ended"]:
            yield f"{after['id']} began {before['ended'] - after['began']:.6f} s before {before['id']} ended"
    for line in _logged(service, workers, "attempt "):
        began, dataset = datetime.fromisoformat(line["time"]).timestamp(), line["message"].rpartition(" ")[2]
        for row in (row for row in ended if (row["dataset"], row["id"] != line["job_id"]) == (dataset, True)):
            if row["began"] < began < row["ended"] - _LOG_TIME_S:
                yield f"{line['job_id']} logged its beginning while {row['id']} was running"


def _logged(service: Service, workers: Sequence[str], beginning: str) -> list[dict[str, str]]:
    lines = [line for name in workers for line in log_lines(service, name) if line["logger"] == "worker.tasks"]
    return [line for line in lines if line["message"].startswith(beginning)]


_INTERVALS = """
    SELECT id, dataset, extract(epoch FROM started_at) AS began, extract(epoch FROM finished_at) AS ended
    FROM jobs WHERE started_at IS NOT NULL ORDER BY dataset, started_at
"""
