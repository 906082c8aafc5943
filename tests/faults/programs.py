"""What each program holds on to: memory, open files, connections; and how much lies in the volume."""

import json
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.faults.service import PROCESSES, STATE, Service

PROGRAMS = PROCESSES | {"postgres": "^postgres", "supervisord": "supervisord --nodaemon"}

# Runs in the container. Shared buffers are left out: Postgres fills them once, to their size.
_LOOK = f"""
import json, os, pathlib
processes = []
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        command = (process / "cmdline").read_bytes().replace(b"\\0", b" ").decode().strip()
        fields = [line.split() for line in (process / "smaps_rollup").read_text().splitlines()[1:]]
        kib = {{name: int(value) for name, value, _ in fields}}
        files = len(os.listdir(process / "fd"))
    except OSError:
        continue
    processes.append([command, (kib["Pss:"] - kib["Pss_Shmem:"]) / 1024, files])
volume = 0
for folder, _, names in os.walk("{STATE}"):
    for name in names:
        try:
            volume += os.lstat(os.path.join(folder, name)).st_blocks * 512
        except OSError:
            pass
print(json.dumps([processes, volume / 2**20]))
"""


@dataclass(frozen=True)
class Sample:
    """`memory_mib` is of all processes of a program, `files_max` of the one that has the most open."""

    memory_mib: dict[str, float]
    files_max: dict[str, int]
    connections: int
    volume_mib: float


def sample(service: Service) -> Sample:
    """Look into the one container that everything runs in."""
    container = service.parts["worker"]
    processes, volume_mib = json.loads(container.execute(f"exec python -c '{_LOOK}'"))
    of = {name: [each for each in processes if re.search(pattern, each[0])] for name, pattern in PROGRAMS.items()}
    [row] = service.rows("SELECT count(*) AS n FROM pg_stat_activity WHERE backend_type = 'client backend'")
    return Sample(
        {name: sum(memory for _, memory, _ in each) for name, each in of.items()},
        {name: max((files for _, _, files in each), default=0) for name, each in of.items()},
        row["n"],
        volume_mib,
    )


def quarters(samples: Sequence[Sample], value: Callable[[Sample], float]) -> tuple[float, float]:
    """Return the medians of the second quarter and of the last."""
    values = [value(each) for each in samples]
    length = max(1, len(values) // 4)
    return statistics.median(values[length : 2 * length]), statistics.median(values[-length:])
