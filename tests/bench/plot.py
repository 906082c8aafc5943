"""Time and memory over size, drawn from the runs that tests/bench/throughput.py has written down."""

import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

MEASURES = {"seconds": "seconds", "peak_mib": "peak memory (MiB)"}


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Draw the medians of runs with nearly distinct pairs, a line for each contestant."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    for axes, (measure, label) in zip(figure.subplots(1, 2), MEASURES.items(), strict=True):
        for contestant, points in _points(runs, measure).items():
            is_service = contestant == "service"
            axes.plot(*zip(*points, strict=True), marker="o", linewidth=3 if is_service else 1, label=contestant)
        axes.set(xscale="log", yscale="log", xlabel="experiments", ylabel=label)
        axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def _points(runs: list[dict[str, Any]], measure: str) -> dict[str, list[tuple[int, float]]]:
    values: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        if run["distribution"] == "distinct":
            values[run["contestant"]][run["experiments"]].append(run[measure])
    return {
        contestant: [(size, statistics.median(of_size)) for size, of_size in sorted(of.items())]
        for contestant, of in values.items()
    }
