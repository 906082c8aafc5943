"""A dataset's result, computed again from docs/input.md and docs/features.md alone: slow, without anything of etl."""

import gzip
import re
from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

LINE_BYTES_MAX = 1_048_576
BLANKS = " \t\r"

Rejection = tuple[str, int, str | None, str, str | None]

COLUMNS = {
    "users": ["user_id", "name", "email", "signup_date"],
    "compounds": ["compound_id", "compound_name", "compound_structure"],
    "user_experiments": ["experiment_id", "user_id", "experiment_compound_ids", "experiment_run_time"],
}
MAY_BE_EMPTY = {"compound_structure", "experiment_compound_ids"}


class Recomputed(NamedTuple):
    """`features` are ordered by user, `rejections` are in no order."""

    features: list[dict[str, Any]]
    summary: dict[str, Any]
    rejections: list[Rejection]


class Wrong(Exception):  # noqa: N818
    """Why a line cannot be used: its code, the column and the value."""


class Line(NamedTuple):
    """A line as it is written, and its cells: none where a quote closes in the middle of a cell further down."""

    number: int
    text: str
    cells: list[str]
    is_cut_off: bool


def recompute(folder: Path) -> Recomputed:
    rejections: list[Rejection] = []
    users = _rows(folder, "users", rejections)
    compounds = _rows(folder, "compounds", rejections)
    experiments = _rows(folder, "user_experiments", rejections, {row["user_id"] for row in users})
    uses = _uses(experiments, {row["compound_id"] for row in compounds}, rejections)
    frames = [
        pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(ids, "int64"))
        for rows, columns, ids in (
            (users, COLUMNS["users"], ["user_id"]),
            (compounds, COLUMNS["compounds"], ["compound_id"]),
            (experiments, COLUMNS["user_experiments"], ["experiment_id", "user_id"]),
            (uses, ["experiment_id", "user_id", "compound_id"], ["experiment_id", "user_id", "compound_id"]),
        )
    ]
    return Recomputed(_features(*frames), _summary(*frames), rejections)


# --- what is in a file


def _rows(
    folder: Path, table: str, rejections: list[Rejection], user_ids: set[int] | None = None
) -> list[dict[str, Any]]:
    """Return the accepted lines as values; `user_ids` are those that a line may refer to."""
    header, lines = _read(folder, table)
    accepted: list[dict[str, Any]] = []
    contents: dict[int, list[dict[str, Any]]] = {}  # of each key, the different ones so far
    for line in lines:
        try:
            row = _row(table, header, line, user_ids)
            is_duplicate = _is_duplicate(table, row, contents)
        except Wrong as wrong:
            code, column, value = wrong.args
            rejections.append((f"{table}.csv", line.number, column, code, value and value[:200]))
        else:
            accepted += [] if is_duplicate else [row | {"line": line.number}]
    return accepted


def _row(table: str, header: list[str], line: Line, user_ids: set[int] | None) -> dict[str, Any]:
    cells = dict(zip(header, _cells(line, len(header)), strict=True))
    row = {column: _value(column, cells[column]) for column in COLUMNS[table]}
    if user_ids is not None and row["user_id"] not in user_ids:
        raise Wrong("unknown_user", "user_id", str(row["user_id"]))
    return row


def _items(cell: str | None) -> list[str]:
    return [item.strip(BLANKS + "\n") for item in cell.split(";")] if cell else []


def _is_duplicate(table: str, row: dict[str, Any], contents: dict[int, list[dict[str, Any]]]) -> bool:
    column = COLUMNS[table][0]
    same_key = contents.setdefault(row[column], [])
    content = row | {name: _items(cell) for name, cell in row.items() if name.endswith("_ids")}
    if content in same_key:
        return True
    same_key.append(content)
    if len(same_key) > 1:
        raise Wrong("duplicate_key", column, str(row[column]))
    return False


def _read(folder: Path, table: str) -> tuple[list[str], Iterator[Line]]:
    """Return the names of the columns, and the lines below the header."""
    path = folder / f"{table}.csv"
    content = path.read_bytes() if path.exists() else gzip.decompress((folder / f"{table}.csv.gz").read_bytes())
    for separator in (",", "\t"):
        lines = _lines(content.decode().removeprefix("\ufeff"), separator)
        names = [name.lower() for name in next(lines).cells]
        if set(COLUMNS[table]) <= set(names):
            return names, lines
    raise AssertionError(f"{table} has no header")


def _lines(text: str, separator: str) -> Iterator[Line]:
    start, number = 0, 1
    while start < len(text):
        cells, end = _split(text, start, separator)
        written = text[start:end]
        if len(cells) > 1 or written.strip(BLANKS):
            yield Line(number, written.rstrip("\r"), cells, end == len(text))
        number += written.count("\n") + 1
        start = end + 1


def _split(text: str, start: int, separator: str) -> tuple[list[str], int]:
    """Return the cells of the line that begins at `start`, and where the line ends."""
    cells = []
    at = start
    while True:
        quoted = ""
        opening = at
        while opening < len(text) and text[opening] in BLANKS.replace(separator, ""):
            opening += 1
        if text[opening : opening + 1] == '"':
            closing = text.index('"', opening + 1)
            while text[closing + 1 : closing + 2] == '"':
                closing = text.index('"', closing + 2)
            quoted, at = text[opening + 1 : closing].replace('""', '"'), closing + 1
        end = min(place for place in (text.find(separator, at), text.find("\n", at), len(text)) if place >= 0)
        if "\n" in quoted and text[at:end].strip(BLANKS):
            return [], text.index("\n", start)
        cells.append((quoted + text[at:end]).strip(BLANKS + "\n"))
        if text[end : end + 1] != separator:
            return cells, end
        at = end + 1


def _cells(line: Line, columns: int) -> list[str]:
    if "\0" in line.text:
        raise Wrong("nul_byte", None, line.text.replace("\0", "\\0"))
    if not line.cells:
        raise Wrong("stray_quote", None, line.text)
    if len(line.text.encode()) > LINE_BYTES_MAX:
        raise Wrong("line_too_long", None, line.text)
    if line.is_cut_off and len(line.cells) < columns:
        raise Wrong("truncated", None, line.text)
    if len(line.cells) != columns:
        raise Wrong("wrong_field_count", None, line.text)
    return line.cells


# --- what is in a cell


def _value(column: str, cell: str) -> Any:
    if not cell and column in MAY_BE_EMPTY:
        return None
    if not cell:
        raise Wrong("missing_value", column, None)
    if column.endswith("_id"):
        if not re.fullmatch("[+-]?[0-9]+", cell):
            raise Wrong("invalid_integer", column, cell)
        if not -(2**63) <= int(cell) < 2**63:
            raise Wrong("out_of_range", column, cell)
        return int(cell)
    if column == "experiment_run_time":
        if re.fullmatch("[+-]?(nan|inf|infinity)", cell, re.IGNORECASE):
            raise Wrong("out_of_range", column, cell)
        if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", cell, re.IGNORECASE):
            raise Wrong("invalid_number", column, cell)
        if not 0 <= float(cell) < float("inf"):
            raise Wrong("out_of_range", column, cell)
        return float(cell)
    if column == "signup_date":
        if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", cell):
            raise Wrong("invalid_date", column, cell)
        try:
            return date.fromisoformat(cell)
        except ValueError as error:
            raise Wrong("invalid_date", column, cell) from error
    return cell


def _uses(
    experiments: list[dict[str, Any]], compound_ids: set[int], rejections: list[Rejection]
) -> list[dict[str, int]]:
    """Return which experiment used which compound, each once."""
    uses = []
    for row in experiments:
        used = set()
        for text in _items(row["experiment_compound_ids"]):
            if not text:
                code = "empty_compound_id"
            elif not re.fullmatch("[+-]?[0-9]+", text) or not -(2**63) <= int(text) < 2**63:
                code = "invalid_compound_id"
            elif int(text) not in compound_ids:
                code = "unknown_compound"
            else:
                used.add(int(text))
                continue
            rejections.append(("user_experiments.csv", row["line"], "experiment_compound_ids", code, text[:200]))
        uses += [{"experiment_id": row["experiment_id"], "user_id": row["user_id"], "compound_id": id_} for id_ in used]
    return uses


# --- what comes out


def _features(
    users: pd.DataFrame, compounds: pd.DataFrame, experiments: pd.DataFrame, uses: pd.DataFrame
) -> list[dict[str, Any]]:
    names = dict(zip(compounds["compound_id"], compounds["compound_name"], strict=True))
    features = []
    for user in users.sort_values("user_id").to_dict("records"):
        times = experiments.loc[experiments["user_id"] == user["user_id"], "experiment_run_time"]
        counts = uses.loc[uses["user_id"] == user["user_id"], "compound_id"].value_counts()
        tied = sorted(counts[counts == counts.max()].index)
        features.append(
            user
            | {
                "total_experiments": len(times),
                "average_run_time": float(sum(map(Fraction, times)) / len(times)) if len(times) else None,
                "most_common_compound_id": tied[0] if tied else None,
                "most_common_compound_name": names[tied[0]] if tied else None,
                "most_common_compound_uses": int(counts.max()) if tied else None,
                "most_common_compound_ids": tied or None,
                "experiment_share": len(times) / len(experiments) if len(experiments) else None,
            }
        )
    return features


def _summary(
    users: pd.DataFrame, _compounds: pd.DataFrame, experiments: pd.DataFrame, uses: pd.DataFrame
) -> dict[str, Any]:
    active = experiments["user_id"].nunique()
    return {
        "total_users": len(users),
        "active_users": active,
        "total_experiments": len(experiments),
        "average_experiments_per_user": len(experiments) / len(users) if len(users) else None,
        "average_experiments_per_active_user": len(experiments) / active if active else None,
        "average_compounds_per_experiment": len(uses) / len(experiments) if len(experiments) else None,
    }
