"""Results of cases: a line of JSON for each, and the table of them: `python -m tests.faults.report FILE...`."""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.faults import figures
from tests.faults.figures import Figure

TITLES = ("case", "runs", "invariants broken", "recovery, median", "worst")
LEGEND = (
    "Recovery: from the end of the injection (or from the kill) until a job posted from then on has succeeded"
    " and every job accepted before it has its final state."
)


@dataclass
class Result:
    """What came of one case; `broken` tells every breach, beginning with the invariant."""

    case: str
    runs: int = 0
    broken: list[str] = field(default_factory=list)
    recoveries_s: list[float] = field(default_factory=list)
    reader_slowest_s: float = 0.0
    health_slowest_s: float = 0.0
    figures: list[Figure] = field(default_factory=list)

    def append_to(self, path: Path) -> None:
        with path.open("a") as file:
            file.write(json.dumps(asdict(self)) + "\n")


def read(paths: Sequence[Path]) -> list[Result]:
    """Read all files; the runs of a case in several files count together."""
    cases: dict[str, Result] = {}
    for path in paths:
        for line in path.read_text().splitlines():
            of = Result(**json.loads(line))
            case = cases.setdefault(of.case, Result(of.case))
            case.runs += of.runs
            case.broken += of.broken
            case.recoveries_s += of.recoveries_s
            case.figures += [Figure(**figure) for figure in vars(of)["figures"]]
    return list(cases.values())


def table(results: Sequence[Result]) -> str:
    lines = ["| " + " | ".join(TITLES) + " |", "| --- | ---: | ---: | ---: | ---: |"]
    lines += ["| " + " | ".join(_cells(result)) + " |" for result in results]
    lines += ["", LEGEND]
    if measured := [(result.case, figure) for result in results for figure in result.figures]:
        lines += ["", figures.table(measured)]
    return "\n".join(lines)


def _cells(result: Result) -> list[str]:
    recoveries = result.recoveries_s
    spread = [f"{statistics.median(recoveries):.1f} s", f"{max(recoveries):.1f} s"] if recoveries else ["", ""]
    # However often it was seen: each breach begins with its invariant, or is why a case did not get to its end.
    broken = {breach.split()[0] for breach in result.broken}
    return [result.case, str(result.runs), str(len(broken)), *spread]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    results = read([path for path in parser.parse_args().files if path.exists()])
    print(table(results))
    sys.stdout.flush()
    for result in results:
        for breach in result.broken:
            print(f"BROKEN in {result.case}: {breach}", file=sys.stderr)
    sys.exit(any(result.broken for result in results) or not results)


if __name__ == "__main__":
    main()
