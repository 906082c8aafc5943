"""The memory that the container or the machine has, and what the kernel does when it runs out."""

import os
import re
from collections import deque
from contextlib import suppress
from pathlib import Path

# Version 2 of the kernel's control groups, and version 1.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_EVENTS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")

_SCORE = Path("/proc/self/oom_score_adj")
_FIRST_TO_GO = 800  # of 1000


def available() -> int:
    """Return the container's memory limit in bytes, or the machine's memory where there is none."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    limits += [int(text) for text in map(str.strip, _read(_LIMITS)) if text.isdigit()]
    return min(limits)


class Kills:
    """Counts the processes that the kernel has killed in this container because its memory had run out."""

    def __init__(self) -> None:
        self._seen = deque([self._count()], maxlen=2)

    def look(self) -> None:
        """Forget those from before the last look: they have nothing to do with what happens next."""
        self._seen.append(self._count())

    def have_risen(self) -> bool:
        """Tell whether there was one since the last look but one, or since the last time that this was asked."""
        before, now = self._seen[0], self._count()
        self._seen = deque([now], maxlen=2)
        return now > before

    def _count(self) -> int:
        counts = (re.search(r"^oom_kill (\d+)$", text, re.MULTILINE) for text in _read(_EVENTS))
        return sum(int(count[1]) for count in counts if count)


def be_killed_first() -> None:
    """When memory runs out, let the kernel kill this process: a job is tried again, and the servers live on."""
    # Not every system has it, and where a container was given more than this, it may not be lowered: such a process
    # goes early anyway.
    with suppress(OSError):
        _SCORE.write_text(str(_FIRST_TO_GO))


def _read(names: tuple[str, ...]) -> list[str]:
    return [path.read_text() for path in map(Path, names) if path.is_file()]
