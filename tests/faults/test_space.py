"""There is no room: on the volume, for temporary files, in memory. A job says so in its error; all else goes on."""

import pytest

from tests.faults.case import Case
from tests.faults.inputs import large, slow_to_load
from tests.faults.service import STATE

pytestmark = pytest.mark.faults

OWNER = "uid=10001,gid=10001,mode=0700"


def test_the_volume_is_full_during_a_load(case: Case) -> None:
    inputs = case.inputs(slow_to_load)
    small = case.containers.volume(
        *("--driver", "local", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", f"o=size=600m,{OWNER}")
    )
    service = case.start(inputs, "--volume", f"{small}:{STATE}")
    inputs.use("new")
    for _ in range(case.times(short=1, long=5)):
        available = "$(df --output=avail --block-size=1M . | tail -n 1)"
        service.parts["postgres"].execute(f"cd {STATE} && head -c $(({available} - 20))M /dev/zero >ballast")
        job = service.finished(service.post_until_accepted())
        assert (job["state"], (job["error"] or {}).get("code")) == ("failed", "disk_full"), job

        service.parts["postgres"].execute(f"rm {STATE}/ballast")

        case.recover()
    case.check()


def test_there_is_no_room_for_temporary_files(case: Case) -> None:
    inputs = case.inputs()
    inputs.add_dataset("large", large)
    service = case.start(inputs, "--tmpfs", f"{STATE}/spill:size=4m,{OWNER}", "--env", "ETL_MEMORY_LIMIT=64MiB")

    job = service.finished(service.post_until_accepted(dataset="large"))

    case.recover()
    assert (job["state"], (job["error"] or {}).get("code")) == ("failed", "disk_full"), job
    case.check()


def test_a_job_needs_more_memory_than_there_is(case: Case) -> None:
    inputs = case.inputs()
    inputs.add_dataset("large", large)
    # The limit makes the engine believe in more than the container has.
    limits = ("--memory", "512m", "--memory-swap", "512m", "--env", "ETL_MEMORY_LIMIT=4GiB")
    service = case.start(inputs, *limits)
    start_of_postgres = service.psql("SELECT pg_postmaster_start_time()")

    job = service.finished(service.post_until_accepted(dataset="large"), seconds=240)

    case.recover()
    assert (job["state"], job["attempt"], (job["error"] or {}).get("code")) == ("failed", 3, "out_of_memory"), job
    assert service.psql("SELECT pg_postmaster_start_time()") == start_of_postgres
    case.check()
