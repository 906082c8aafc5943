"""How far a job is."""

from collections.abc import Callable

# done, total, unit
Progress = Callable[[int, int, str], None]


def unheard(_done: int, _total: int, _unit: str) -> None:
    """Progress that nobody asks for."""


class Steps:
    """Tells how far a number of steps is: each has as much of the lines, and it never goes backwards."""

    def __init__(self, number: int, lines: int, progress: Progress) -> None:
        self._number = number
        self._lines = lines
        self._progress = progress
        self._ended = 0
        self._done = 0

    def tell(self, share: float) -> None:
        """Tell what share of the step is done."""
        done = int(self._lines * (self._ended + min(max(share, 0), 1)) / self._number)
        self._done = max(self._done, done)
        self._progress(self._done, self._lines, "lines")

    def end_step(self) -> None:
        self._ended += 1
        self.tell(0)
