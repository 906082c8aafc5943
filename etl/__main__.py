"""`python -m etl DIRECTORY`: the features of a dataset from a shell, without any server."""

import argparse
import errno
import os
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from etl import progress
from etl.contract import MAX_REJECTED_RATIO
from etl.errors import BadInput, Transient
from etl.exports import WRITERS
from etl.frames import Frames, run

_EPILOG = """\
exit status: 0 the features are derived; 1 the files cannot be used, or one that is asked for cannot be written, and
nothing was written; 2 the command is wrong

Rejected lines are counted and listed: --rejections writes all of them, with file, line, column and reason."""

_ROOT = Path(__file__).parents[1]
_ALLOWED = " or ".join(f".{format_}" for format_ in WRITERS)
_BATCH_ROWS = 50_000
_SHOWN = 10


class _Unwritable(Exception):  # noqa: N818
    """A file that is asked for cannot be written."""


def main(arguments: Sequence[str] | None = None) -> int:
    given = _given(arguments)
    told = Console(stderr=True)
    try:
        with Bar(
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            console=told,
            disable=given.quiet or not told.is_terminal,
        ) as bar:
            frames = run(
                given.directory, max_rejected_ratio=given.max_rejected_ratio, on_stage=lambda name: _stage(bar, name)
            )
        asked = {given.out: frames.features, given.rejections: frames.rejections}
        _write({path: frame for path, frame in asked.items() if path})
    except _Unwritable as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except (BadInput, Transient, OSError) as error:
        print(f"{given.directory}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    if not given.quiet:
        _show(frames, Console())
    return 0


def _given(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.out and given.rejections and given.out.resolve() == given.rejections.resolve():
        parser.error("--out and --rejections are the same file")
    return given


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m etl",
        description="Derive the features of users.csv, user_experiments.csv and compounds.csv in a directory.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    parser.add_argument("--version", action="version", version=f"{project['name']} {project['version']}")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--out", type=_path, metavar="FILE", help=f"write a row per user there: {_ALLOWED}")
    parser.add_argument("--rejections", type=_path, metavar="FILE", help=f"write all rejections: {_ALLOWED}")
    parser.add_argument(
        "--max-rejected-ratio",
        type=_ratio,
        default=MAX_REJECTED_RATIO,
        metavar="RATIO",
        help="share of a file's lines that may be rejected, from 0 to 1 (default: %(default)s)",
    )
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    return parser


def _path(text: str) -> Path:
    path = Path(text)
    if _format(path) not in WRITERS:
        raise argparse.ArgumentTypeError(f"{text!r} must end in {_ALLOWED}")
    return path


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1
    if not 0 <= ratio <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")
    return ratio


@contextmanager
def _stage(bar: Bar, name: str) -> Iterator[progress.Progress]:
    task = bar.add_task(name, total=None, unit="")
    yield lambda done, total, unit: bar.update(task, completed=done, total=total, unit=unit)
    bar.update(task, completed=bar.tasks[task].total or 1, total=bar.tasks[task].total or 1)


def _write(frames: dict[Path, pd.DataFrame]) -> None:
    """All files are written or none, and whoever reads sees a whole one. Raises _Unwritable."""
    new = {path: path.with_name(f".{path.name}.new") for path in frames}
    try:
        for path, frame in frames.items():
            with _named(path):
                if path.is_dir():  # found now, and not when another file has been replaced
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
                _fill(new[path], frame, _format(path))
        for path in frames:
            with _named(path):
                new[path].replace(path)
    finally:
        for path in new.values():
            with suppress(OSError):
                path.unlink()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _Unwritable(f"{path}: {error.strerror or error}") from error


def _fill(path: Path, frame: pd.DataFrame, format_: str) -> None:
    """With the types that the API's files have."""
    # pandas' own note of its types is one that pandas cannot read where there are lists.
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    types = [pa.string() if type_ == pa.large_string() else type_ for type_ in table.schema.types]
    schema = pa.schema(zip(table.column_names, types, strict=True))
    with path.open("wb") as file:
        writer = WRITERS[format_](file, schema)
        for batch in table.cast(schema).to_batches(_BATCH_ROWS):
            writer.write(batch)
        writer.close()


def _format(path: Path) -> str:
    return path.suffix.removeprefix(".")


def _show(frames: Frames, console: Console) -> None:
    files = Table("file", "read", "accepted", "duplicate", "rejected", title="Lines")
    for of in frames.accounts:
        files.add_row(of.file, *(f"{number:,}" for number in (of.read, of.accepted, of.duplicate, of.rejected)))
    console.print(files)
    found = len(frames.rejections)
    if found:
        rejections = Table("file", "line", "column", "reason", "value", title=f"Rejections: {found:,}")
        for row in frames.rejections.head(_SHOWN).to_dict("records"):
            rejections.add_row(*(_text(row[name]) for name in ("file", "line", "column", "message", "value")))
        console.print(rejections)
    if found > _SHOWN:
        console.print(f"... and {found - _SHOWN:,} more: --rejections FILE")
    summary = Table("", "", title="Summary", show_header=False)
    for name in frames.summary.columns:
        summary.add_row(name, _text(frames.summary[name].iloc[0]))
    console.print(summary)


def _text(value: Any) -> Text:
    """Not as markup: a value may have brackets."""
    return Text("" if pd.isna(value) else str(value))


if __name__ == "__main__":
    sys.exit(main())
