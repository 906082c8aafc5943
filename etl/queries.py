"""Ibis expressions -> SQL. Compiling takes some seconds, so what comes of it is kept beside Python's own byte code.

Like byte code, it is made anew when a source has changed, and nothing depends on its being kept.
"""

import hashlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version as version_of
from pathlib import Path
from typing import NamedTuple

import ibis
import ibis.expr.types as ir

from etl.features import SUMMARY_CATALOGUE, USER_CATALOGUE
from etl.validate import Step

_KEPT = Path(__file__).parent / "__pycache__"


class Query(NamedTuple):
    """A step as SQL; `columns` are the names and types of what it comes to."""

    name: str
    sql: str
    is_view: bool = False
    wrong: Sequence[str] = ()
    rest: str | None = None
    columns: Sequence[Sequence[str]] = ()


def version() -> str:
    """Name the pipeline: any change of its source is another version."""
    return _VERSION


def _sha256_of_sources() -> str:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()


# Read when the code itself is: a source that changes while the process runs is not what it runs.
_VERSION = _sha256_of_sources()


@cache
def of_steps(steps: Callable[[], Iterator[Step]], dialect: str) -> list[Query]:
    """Compile the steps, in order."""
    return _kept(steps, dialect, lambda: [_query(step, dialect) for step in steps()])


@cache
def of(expression: Callable[[], ir.Table], dialect: str) -> str:
    """Compile one expression."""
    [query] = _kept(expression, dialect, lambda: [Query(expression.__name__, _sql(expression(), dialect))])
    return query.sql


def forget() -> None:
    """Compile everything again: the catalogue has changed while the process ran."""
    of_steps.cache_clear()
    of.cache_clear()


def _query(step: Step, dialect: str) -> Query:
    # Ibis knows the types of a dialect by the name that sqlglot has for it.
    types = {"pyspark": "spark"}.get(dialect, dialect)
    columns = step.expression.schema().to_sqlglot_column_defs(types)
    return Query(
        step.name,
        _sql(step.expression, dialect),
        step.is_view,
        list(step.wrong),
        None if step.rest is None else _sql(step.rest, dialect),
        [[column.this.sql(types), column.kind.sql(types)] for column in columns],
    )


def _sql(expression: ir.Table, dialect: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of PySpark on pandas 3, which nothing here hands it
        getattr(ibis, dialect)  # loading the backend, which sets options that its compiler asks for
    return str(ibis.to_sql(expression, dialect=dialect))


def _kept(function: Callable[[], object], dialect: str, compile_: Callable[[], list[Query]]) -> list[Query]:
    if not function.__module__.startswith("etl.") or "<" in function.__qualname__:
        return compile_()
    path = _KEPT / f"{function.__module__}.{function.__qualname__}.{dialect}.json"
    made_from = [
        *(version(), version_of("ibis-framework"), version_of("sqlglot")),
        *(USER_CATALOGUE.columns, SUMMARY_CATALOGUE.columns),
    ]
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_text())
        if kept["made_from"] == made_from:
            return [Query(*query) for query in kept["queries"]]
    queries = compile_()
    if not sys.dont_write_bytecode:
        _write(path, json.dumps({"made_from": made_from, "queries": queries}))
    return queries


def _write(path: Path, text: str) -> None:
    """Another process sees the old file or the new one."""
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "w") as file:
                os.fchmod(descriptor, 0o644)  # as byte code: who runs the service is not who has installed it
                file.write(text)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink()
            raise
