"""A dataset's files read by many: which tasks that takes, and what their results amount to."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from etl import executors, ranges
from etl.contract import TABLES
from etl.dialect import Header
from etl.executors import Hash, LookAt, Part, Place, Read, Task
from etl.files import Dataset, Range, changed
from etl.inputs import InputFile

# Does tasks, at once, and returns the outcome of each.
Run = Callable[[Sequence[Task]], list[dict[str, Any]]]


@dataclass(frozen=True)
class Extracted:
    """The files as they were read, and per table the Parquet files with its rows."""

    files: list[InputFile]
    written: dict[str, list[str]]


def read(dataset: Dataset, output: Path, run: Run) -> Extracted:
    """Read each file of the dataset, a large one by ranges.

    Raises BadInput as one reader would, of the first file and the first line with anything wrong, and Blind.
    """
    places = [Place(str(dataset.directory), dataset.file_bytes_max, table.name, str(output)) for table in TABLES]
    tasks: list[Task] = []
    for place, cut in zip(places, _cuts(dataset, places, run), strict=True):
        tasks += _tasks(place, cut)
    results = zip(tasks, map(executors.result_of, run(tasks)), strict=True)
    files: list[InputFile] = []
    written: dict[str, list[str]] = {}
    for place, of_place in groupby(results, key=lambda done: done[0].place):
        file, parts = _file(place, of_place)
        files.append(file)
        for part in parts:
            for name, path in part.written.items():
                written.setdefault(name, []).append(path)
    return Extracted(files, written)


@dataclass(frozen=True)
class _Cut:
    """The ranges of a file, and its header."""

    ranges: list[Range]
    header: Header


def _cuts(dataset: Dataset, places: Sequence[Place], run: Run) -> Iterator[_Cut | None]:
    """Look at the files that are large; None for one that has to be read by one reader."""
    looks: dict[Place, list[LookAt]] = {}
    for place in places:
        with dataset.open(place.table) as source:
            if source.size > ranges.RANGE_BYTES and not source.is_compressed:
                looks[place] = [LookAt(place, piece) for piece in ranges.pieces(source.size)]
    tasks = [task for of_place in looks.values() for task in of_place]
    told = dict(zip(tasks, run(tasks), strict=True)) if tasks else {}
    for place in places:
        seen = [LookAt.told(executors.result_of(told[task])) for task in looks.get(place, [])]
        if not seen or not seen[0][1]:
            yield None
            continue
        header, end = seen[0][1]
        cut = ranges.ranges([task.piece for task in looks[place]], [look for look, _ in seen], end)
        yield _Cut(cut, header) if len(cut) > 1 else None


def _tasks(place: Place, cut: _Cut | None) -> list[Task]:
    if not cut:
        return [Read(place)]
    reads = [Read(place, range_, cut.header if range_.start else None) for range_ in cut.ranges]
    return [Hash(place, cut.ranges), *reads]  # what takes longest begins first


def _file(place: Place, results: Iterable[tuple[Task, Any]]) -> tuple[InputFile, list[Part]]:
    """Put a file's parts together. Raises BadInput (`input_changed`) where they are not what the whole was."""
    parts = []
    hashed = None
    for task, result in results:
        if isinstance(task, Hash):
            hashed = task, *Hash.told(result)
        else:
            parts.append(Read.told(result))
    if not hashed:
        return parts[0].input, parts
    task, snapshot, sums = hashed
    of_parts = [(part.input.snapshot.sha256, part.input.snapshot.mtime_ns) for part in parts]
    looks = [part.look for part in parts if part.look]
    if of_parts != [(sum_, snapshot.mtime_ns) for sum_ in sums] or not ranges.fit(task.ranges, looks):
        raise changed(place.table)
    increase = ranges.keys_increase([part.keys for part in parts])
    return replace(parts[0].input, snapshot=snapshot, keys_increase=increase), parts
