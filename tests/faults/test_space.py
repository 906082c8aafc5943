"""There is no room: on the volume, for temporary files, in memory. A job says so in its error; all else goes on."""

import pytest

from tests.faults.case import Case
from tests.faults.inputs import large, slow_to_load
from tests.faults.service import STATE, Service
from tests.faults.session import Unavailable
from tests.servers import wait_until

pytestmark = pytest.mark.faults

OWNER = "uid=10001,gid=10001,mode=0700"


def test_the_volume_is_full_during_a_load(case: Case) -> None:
    inputs = case.inputs(slow_to_load)
    service = case.start(inputs, "--volume", f"{_small_volume(case)}:{STATE}")
    inputs.use("new")
    for _ in range(case.times(short=1, long=2)):
        _fill(service, left="20M")
        job = service.finished(service.post_until_accepted())
        assert (job["state"], (job["error"] or {}).get("code")) == ("failed", "disk_full"), job

        _make_room(service)

        case.recover()
    case.check()


def test_the_volume_has_not_a_byte_left(case: Case) -> None:
    """Postgres stops, since it cannot write its log, and comes back by itself, although there is still no room."""
    inputs = case.inputs(slow_to_load)
    service = case.start(inputs, "--volume", f"{_small_volume(case)}:{STATE}")
    start_of_postgres = service.psql("SELECT pg_postmaster_start_time()")
    inputs.use("new")
    _fill(service, left="0")
    wait_until(lambda: not _writes_its_log(service), "Postgres has stopped")

    service.wait_until_ready()
    assert service.psql("SELECT pg_postmaster_start_time()") != start_of_postgres
    job = service.finished(service.post_until_accepted())
    assert (job["state"], (job["error"] or {}).get("code")) == ("failed", "disk_full"), job
    assert service.rows("SELECT count(*) AS users FROM user_features WHERE dataset = 'default'") == [{"users": 1000}]

    _make_room(service)
    case.recover()
    case.check()


def _writes_its_log(service: Service) -> bool:
    try:
        service.psql("SELECT pg_logical_emit_message(false, '', repeat('x', 1000000))")
    except Unavailable:
        return False
    return True


def _small_volume(case: Case) -> str:
    return case.containers.volume(
        *("--driver", "local", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", f"o=size=600m,{OWNER}")
    )


def _fill(service: Service, *, left: str) -> None:
    """Fill the volume so that no more is left."""
    free = "$(df --output=avail --block-size=1 . | tail -n 1)"
    size = f"$(({free} - $(numfmt --from=iec {left})))"
    service.parts["postgres"].execute(f"cd {STATE} && head -c {size} /dev/zero >ballast")


def _make_room(service: Service) -> None:
    service.parts["postgres"].execute(f"rm {STATE}/ballast")


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
