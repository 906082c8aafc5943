"""What a case measured beside its invariants, each figure with its goal where it has one."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

TITLES = ("case", "figure", "measured", "goal", "load")
LEGEND = "Load: the machine's load average of a minute, by everything that ran on it; without a goal: for information."


def _load() -> float:
    return round(os.getloadavg()[0], 1)


@dataclass(frozen=True)
class Figure:
    """At most `goal` is asked for; a figure without one is told for its own sake."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    load: float = field(default_factory=_load)

    @property
    def is_met(self) -> bool:
        return self.goal is None or self.value <= self.goal


def p99(values: Sequence[float]) -> float:
    """Return the least value that 99 % of the values do not exceed."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


def table(figures: Sequence[tuple[str, Figure]]) -> str:
    """Show a line for each figure of each case: its greatest value, where there are several."""
    greatest: dict[tuple[str, str], Figure] = {}
    for case, figure in figures:
        known = greatest.setdefault((case, figure.name), figure)
        greatest[case, figure.name] = max(known, figure, key=lambda of: of.value)
    lines = ["| " + " | ".join(TITLES) + " |", "| --- | --- | ---: | ---: | ---: |"]
    lines += ["| " + " | ".join([case, *_cells(figure)]) + " |" for (case, _), figure in greatest.items()]
    return "\n".join([*lines, "", LEGEND])


def _cells(figure: Figure) -> list[str]:
    goal = "" if figure.goal is None else f"{figure.goal:g} {figure.unit}{'' if figure.is_met else ', missed'}"
    return [figure.name, f"{figure.value:g} {figure.unit}", goal, f"{figure.load:g}"]
