"""One to four worker containers on eight datasets at once: seconds from the first POST to the end of the last job.

A container for each role, as in docker-compose.yml, all on this machine. The first job of each worker does not count.
Prints a table and a line of JSON for each run.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.generate import generate
from tests.conftest import ROOT
from tests.container.service import Containers, docker
from tests.faults import inputs
from tests.faults.service import Service
from tests.faults.start import start_roles

DATASETS = [f"dataset{number}" for number in range(1, 9)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench.sh workers", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--experiments", type=int, default=300_000, help="in each dataset")
    parser.add_argument("--threads", type=int, default=1, help="of each worker: ETL_THREADS")
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    image = docker("build", "--quiet", ROOT).stdout.strip()
    with TemporaryDirectory() as folder:
        of_service = inputs.sample(Path(folder))
        for dataset in DATASETS:
            of_service.add_dataset(
                dataset,
                lambda directory: generate(
                    directory,
                    experiments=given.experiments,
                    users=given.experiments // 50,
                    compounds=5_000,
                    shuffled=False,
                    seed=1,
                ),
            )
        print("| workers | seconds | times one worker |")
        print("|---|---|---|")
        medians: list[float] = []
        for workers in given.workers:
            seconds = _measure(image, of_service, workers, given.threads, given.runs)
            medians.append(statistics.median(seconds))
            print(
                f"| {workers} | {medians[-1]:.2f} ({min(seconds):.2f}-{max(seconds):.2f})"
                f" | {medians[-1] / medians[0]:.2f} |",
                flush=True,
            )


def _measure(image: str, of_service: inputs.Inputs, workers: int, threads: int, runs: int) -> list[float]:
    containers = Containers(image)
    options = ["--env", f"ETL_THREADS={threads}"]
    try:
        service = start_roles(containers, of_service, {f"worker{number}": options for number in range(workers)})
        service.wait_until_ready()
        _run_all(service)
        seconds = [_run_all(service) for _ in range(runs)]
        service.close()
    finally:
        containers.remove_all()
    print(json.dumps({"workers": workers, "threads": threads, "seconds": seconds}), flush=True)
    return seconds


def _run_all(service: Service) -> float:
    started = time.monotonic()
    jobs = [service.post_until_accepted(dataset=dataset) for dataset in DATASETS]
    ended = [service.finished(job) for job in jobs]
    seconds = time.monotonic() - started
    if {job["state"] for job in ended} != {"succeeded"}:
        raise SystemExit(f"not all succeeded: {ended}")
    return round(seconds, 2)


if __name__ == "__main__":
    main()
